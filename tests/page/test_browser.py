"""The page as a reader has it: in Chromium, by keyboard, on a phone, on paper, without script."""

import os
import shutil

import pytest
from checkout import ROOT
from experiments import claim, summary, write
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from focal_curvature import page

VISIBLE = """
return [...document.querySelectorAll(`#${arguments[0]}-table tbody tr`)]
  .filter((row) => row.checkVisibility()).map((row) => ({...row.dataset}))
"""
NUMBERS = """
return [...document.querySelectorAll("#results-table tbody tr")]
  .filter((row) => row.checkVisibility())
  .map((row) => row.querySelector(`[data-label="${arguments[0]}"]`).dataset.number)
"""
FOCUS = """
const focused = document.activeElement, box = focused.getBoundingClientRect();
const style = getComputedStyle(focused);
return {
  name: focused.name || focused.textContent.trim(),
  table: focused.closest("section")?.id,
  seen: box.right > 0 && box.bottom > 0 && box.left < innerWidth && box.top < innerHeight,
  outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
}
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Write a page of the committed experiments and of a made-up one; return where it lies."""
    folder = tmp_path_factory.mktemp("page")
    ece = {("ce", 0.0): 0.5, ("focal-0.7", 0.7): 0.3, ("ce-sam-0.05", float("nan")): 0.4}
    claims = [claim("made_up_net", "supported", 0.5), claim("all models", "not tested")]
    made_up = write(folder / "made_up", summary("made_up_net", ece), claims)
    folders = [*sorted((ROOT / "paper_figures").iterdir()), made_up]
    experiments = [page.read(folder, lambda experiment, figure: "") for folder in folders]
    (folder / "page.html").write_text(page.render(experiments))
    return (folder / "page.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.add_argument("--headless=new")
    options.add_argument("--disable-dev-shm-usage")  # small in containers
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium has none for root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def reader(browser, address):
    """Open the page anew; at the end nothing may have gone wrong in it."""
    window(browser, 1280, 900)
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []


def window(browser, width, height, mobile=False):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def press(browser, *keys):
    webdriver.ActionChains(browser).send_keys(*keys).perform()
    return browser.execute_script(FOCUS)


def tab_to(browser, table, name):
    """Press Tab until the control is focused; every one on the way must be seen to be."""
    for _ in range(100):
        focus = press(browser, Keys.TAB)
        assert focus["seen"], focus
        assert focus["outline"] >= 2, focus
        if (focus["table"], focus["name"]) == (table, name):
            return
    pytest.fail(f"Tab does not reach {name}")


def count(browser, table):
    status = browser.find_element(By.ID, f"{table}-count")
    assert status.get_attribute("aria-live") == "polite"
    return status.text


def overflow(browser):
    script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return browser.execute_script(script)


def test_the_first_tab_skips_to_the_content(reader):
    assert press(reader, Keys.TAB)["name"] == "Skip to the results"
    press(reader, Keys.ENTER)
    assert reader.switch_to.active_element.get_attribute("id") == "main"
    assert press(reader, Keys.TAB)["table"] == "verdicts"


def test_results_are_filtered_by_keyboard(reader):
    everything = reader.execute_script(VISIBLE, "results")
    tab_to(reader, "results", "experiment")
    press(reader, *"made")  # the first letters choose, as in any native control
    rows = reader.execute_script(VISIBLE, "results")
    assert [row["gamma"] for row in rows] == ["0", "0.7", "none"]
    assert {row["experiment"] for row in rows} == {"made_up"}
    assert count(reader, "results") == f"3 of {len(everything)} rows"

    tab_to(reader, "results", "gamma")
    press(reader, Keys.ARROW_DOWN)
    assert [row["gamma"] for row in reader.execute_script(VISIBLE, "results")] == ["0"]
    press(reader, Keys.END)
    (row,) = reader.execute_script(VISIBLE, "results")
    assert row["family"] == "sam"

    tab_to(reader, "results", "family")
    press(reader, *"focal")
    assert reader.execute_script(VISIBLE, "results") == []
    assert count(reader, "results") == f"0 of {len(everything)} rows"

    tab_to(reader, "results", "Show all")
    press(reader, Keys.ENTER)
    assert reader.execute_script(VISIBLE, "results") == everything


def test_models_are_filtered_by_keyboard(reader):
    tab_to(reader, "results", "model")
    for _ in range(2):
        press(reader, Keys.ARROW_DOWN)
    models = list(dict.fromkeys(row["model"] for row in reader.execute_script(VISIBLE, "results")))
    control = reader.switch_to.active_element
    assert models == [control.get_attribute("value")]
    assert control.find_element(By.CSS_SELECTOR, "option:nth-child(3)").text == models[0]


def test_columns_are_sorted_by_keyboard(reader):
    files = [float(number) for number in reader.execute_script(NUMBERS, "ECE (%)")]
    assert files != sorted(files)
    tab_to(reader, "results", "ECE (%)")
    for key, direction in ((Keys.ENTER, "ascending"), (Keys.SPACE, "descending")):
        assert press(reader, key)["name"] == "ECE (%)"
        found = [float(number) for number in reader.execute_script(NUMBERS, "ECE (%)")]
        assert found == sorted(files, reverse=direction == "descending")
        sorted_by = reader.find_elements(By.CSS_SELECTOR, "#results-table [aria-sort]")
        assert [heading.get_attribute("aria-sort") for heading in sorted_by] == [direction]
        assert count(reader, "results").endswith(f"rows, sorted by ECE (%), {direction}")


def test_rows_without_a_number_come_last_either_way(reader):
    without = reader.execute_script(NUMBERS, "γ").count("")
    assert without
    heading = reader.find_element(By.XPATH, "//*[@id='results-table']//button[.='γ']")
    for _ in range(2):
        heading.send_keys(Keys.ENTER)
        numbers = reader.execute_script(NUMBERS, "γ")
        assert set(numbers[-without:]) == {""}
        assert "" not in numbers[:-without]


def test_verdicts_are_of_all_models_until_others_are_asked_for(reader):
    shown = reader.execute_script(VISIBLE, "verdicts")
    assert {row["model"] for row in shown} == {"all models"}
    tab_to(reader, "verdicts", "verdict")
    press(reader, *"not")
    shown = reader.execute_script(VISIBLE, "verdicts")
    assert {(row["verdict"], row["model"]) for row in shown} == {("not tested", "all models")}
    tab_to(reader, "verdicts", "Show all")
    press(reader, Keys.SPACE)
    assert {"all models", "made_up_net"} <= {
        row["model"] for row in reader.execute_script(VISIBLE, "verdicts")
    }


def test_details_open_by_keyboard(reader):
    details = reader.find_elements(By.CSS_SELECTOR, ".experiment details")
    assert len(details) == len(reader.find_elements(By.CSS_SELECTOR, ".experiment"))
    details[-1].find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert "0123456789abcdef" in details[-1].text


def test_a_phone_scrolls_down_only(reader):
    window(reader, 360, 740, mobile=True)
    assert overflow(reader) <= 0
    for button in reader.find_elements(By.CSS_SELECTOR, ".filters button"):
        button.send_keys(Keys.ENTER)
    for summary_ in reader.find_elements(By.TAG_NAME, "summary"):
        summary_.send_keys(Keys.ENTER)
    assert overflow(reader) <= 0
    assert reader.execute_script("return innerWidth") == 360


def test_paper_shows_no_controls_and_cuts_nothing(reader):
    window(reader, 1009, 680)  # A4 across, less the margins
    reader.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not any(form.is_displayed() for form in reader.find_elements(By.TAG_NAME, "form"))
        assert overflow(reader) <= 0
        reader.execute_script("dispatchEvent(new Event('beforeprint'))")
        details = reader.find_elements(By.TAG_NAME, "details")
        assert all(part.get_attribute("open") for part in details)
    finally:
        reader.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_without_script_everything_is_shown(browser, address):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(address)
        rows = browser.find_elements(By.CSS_SELECTOR, "tbody tr")
        assert {row.get_attribute("data-model") for row in rows} > {"all models", "made_up_net"}
        assert all(row.is_displayed() for row in rows)
        assert not any(form.is_displayed() for form in browser.find_elements(By.TAG_NAME, "form"))
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
