"""The page as a reader has it, in Chromium: pointer, keyboard, phone, paper, at night."""

import itertools
import os
import shutil

import pandas as pd
import pytest
from checkout import ROOT
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from focal_curvature import page

# The smallest committed experiment that has all columns, and one that has few.
EXPERIMENTS = ("digits", "fashion_mnist")
RUNS = {name: pd.read_csv(ROOT / f"paper_figures/{name}/runs.csv") for name in EXPERIMENTS}
N_RUNS = sum(map(len, RUNS.values()))

FOCUS = """
const focused = document.activeElement, box = focused.getBoundingClientRect();
const style = getComputedStyle(focused);
return {
  tag: focused.tagName, name: focused.name, section: focused.closest("section")?.id,
  text: focused.textContent.trim(), figure: focused.closest("figure")?.id,
  seen: box.right > 0 && box.bottom > 0 && box.left < innerWidth && box.top < innerHeight,
  outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
}
"""
# Colours of a canvas with how many pixels have them, those of the background left out.
COLOURS = """
const canvas = document.querySelector(`#${arguments[0]} canvas`);
const copy = new OffscreenCanvas(canvas.width, canvas.height);
const context = copy.getContext("2d", { willReadFrequently: true });
context.drawImage(canvas, 0, 0);
const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
const found = {};
for (let i = 0; i < data.length; i += 4)
  if (data[i + 3] > 100) {
    const key = `${data[i]},${data[i + 1]},${data[i + 2]}`;
    found[key] = (found[key] ?? 0) + 1;
  }
return found
"""
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
BACKGROUND = "return getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folders = [ROOT / f"paper_figures/{name}" for name in EXPERIMENTS]
    experiments = [
        page.read(folder, lambda experiment, figure: "<p>As it is.</p>", lambda name: "")
        for folder in folders
    ]
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(page.render(experiments, pd.read_csv(ROOT / "docs/pooled.csv")))
    return file.as_uri()


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
    media(browser)
    show(browser, address)
    yield browser
    assert browser.get_log("browser") == []


def show(browser, address):
    browser.get("about:blank")
    browser.get(address)
    drawn = "return performance.getEntriesByName('drawn').length"
    WebDriverWait(browser, 60).until(lambda driver: driver.execute_script(drawn) == 1)


def window(browser, width, height, mobile=False):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def media(browser, scheme="light", medium=""):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    settings = {"media": medium, "features": features}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", settings)


def press(browser, *keys):
    webdriver.ActionChains(browser).send_keys(*keys).perform()
    return browser.execute_script(FOCUS)


def tab_to(browser, **wanted):
    """Press Tab until what is wanted is focused; every stop on the way must be seen to be."""
    for _ in range(300):
        focus = press(browser, Keys.TAB)
        assert focus["seen"], focus
        assert focus["outline"] >= 2, focus
        if wanted.items() <= focus.items():
            return
    pytest.fail(f"Tab does not reach {wanted}")


def text(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector).text


def choose(browser, form, name, label):
    Select(
        browser.find_element(By.CSS_SELECTOR, f"{form} select[name={name}]")
    ).select_by_visible_text(label)


def points(browser, side):
    canvas = browser.find_element(By.CSS_SELECTOR, f"#{side} canvas")
    return int(canvas.get_attribute("data-points"))


def drag(browser, side, begin, end):
    """Drag over a plot, between two places given as shares of its width and height."""
    canvas = browser.find_element(By.CSS_SELECTOR, f"#{side} canvas")
    browser.execute_script("arguments[0].scrollIntoView()", canvas)
    width, height = canvas.size["width"], canvas.size["height"]
    places = [(round((x - 0.5) * width), round((y - 0.5) * height)) for x, y in (begin, end)]
    actions = webdriver.ActionChains(browser)
    actions.move_to_element_with_offset(canvas, *places[0]).click_and_hold()
    actions.move_to_element_with_offset(canvas, *places[1]).release().perform()


def shown_groups(browser):
    groups = browser.find_elements(By.CSS_SELECTOR, ".group")
    return [group.get_attribute("id") for group in groups if group.is_displayed()]


def test_the_first_tab_skips_to_the_answer(reader):
    assert press(reader, Keys.TAB)["text"] == "Skip to the answer"
    press(reader, Keys.ENTER)
    assert reader.switch_to.active_element.get_attribute("id") == "main"
    assert press(reader, Keys.TAB)["section"] == "answer"


def test_question_answer_and_matrix_are_the_first_screen(reader):
    for selector in ("h1", ".bullets", "#matrix thead"):
        box = reader.find_element(By.CSS_SELECTOR, selector).rect
        assert box["y"] + box["height"] < 900


def test_runs_are_drawn_without_being_asked_for(reader):
    assert reader.execute_script("return performance.getEntriesByName('drawn').length") == 1
    assert len(reader.execute_script(COLOURS, "left")) > 10


def test_a_cell_leads_to_its_evidence_and_back(reader):
    assert all(group.startswith("pooled--") for group in shown_groups(reader))
    reader.find_element(
        By.CSS_SELECTOR, "#matrix a[href='#digits--c4_mediation--objective']"
    ).click()
    assert shown_groups(reader) == ["digits--c4_mediation--objective"]
    focused = reader.switch_to.active_element
    assert focused.get_attribute("id") == "digits--c4_mediation--objective"
    assert "share of the effect through the measure" in focused.text
    assert "python tools/judge.py digits" in focused.text
    assert "of 0 rows" not in text(reader, "#verdict-count")
    focused.find_element(By.PARTIAL_LINK_TEXT, "Figure: interventions").click()
    figure = reader.switch_to.active_element
    assert figure.get_attribute("id") == "figure--digits--interventions"
    image = figure.find_element(By.TAG_NAME, "img")
    assert image.is_displayed()
    WebDriverWait(reader, 10).until(lambda _: image.get_property("naturalWidth") > 500)
    reader.back()
    assert reader.switch_to.active_element.get_attribute("id") == "digits--c4_mediation--objective"


def test_a_cell_is_chosen_by_keyboard(reader):
    tab_to(reader, section="answer", tag="A", text="?!?!")
    target = reader.switch_to.active_element.get_attribute("href").partition("#")[2]
    press(reader, Keys.ENTER)
    assert shown_groups(reader) == [target]


def test_an_address_with_an_anchor_shows_it(reader, address):
    reader.get("about:blank")
    show(reader, f"{address}#fashion_mnist--c1_trend--objective")
    assert shown_groups(reader) == ["fashion_mnist--c1_trend--objective"]


def test_verdicts_are_filtered(reader):
    choose(reader, "#verdict-filters", "source", "digits")
    choose(reader, "#verdict-filters", "verdict", "contradicted")
    groups = shown_groups(reader)
    assert groups and all(group.startswith("digits--") for group in groups)
    rows = [r for r in reader.find_elements(By.CSS_SELECTOR, ".group tbody tr") if r.is_displayed()]
    assert all("✗" in row.text for row in rows)
    assert text(reader, "#verdict-count").startswith(f"{len(rows)} of ")
    choose(reader, "#verdict-filters", "verdict", "described")
    assert "digits--c4_rivals" in shown_groups(reader)
    reader.find_element(By.CSS_SELECTOR, "#verdict-filters button").click()
    assert len(shown_groups(reader)) == len(reader.find_elements(By.CSS_SELECTOR, ".group"))


def test_controls_do_not_lie_on_one_another(reader):
    for form in reader.find_elements(By.TAG_NAME, "form"):
        boxes = [e.rect for e in form.find_elements(By.CSS_SELECTOR, "select, button, input")]
        for box, following in itertools.pairwise(boxes):
            beside = box["x"] + box["width"] <= following["x"] + 1
            assert beside or box["y"] + box["height"] <= following["y"] + 1


def test_every_interval_is_drawn_where_its_numbers_say(reader):
    row = reader.find_element(By.CSS_SELECTOR, "#pooled--c1_trend--cross_entropy tbody tr")
    reader.execute_script("arguments[0].scrollIntoView()", row)
    null, bar, mark = reader.execute_script(
        "return [...arguments[0].querySelectorAll('line, use')].map((e) => {"
        "const b = e.getBoundingClientRect(); return [b.left, b.right]})",
        row,
    )
    assert bar[0] < (mark[0] + mark[1]) / 2 < bar[1] < null[0]  # -0.83 [-1.04, -0.62]


def test_axes_are_chosen(reader):
    assert points(reader, "left") == points(reader, "right") == N_RUNS
    before = reader.execute_script(COLOURS, "left")
    choose(reader, "#left", "y", "accuracy")
    known = int(RUNS["digits"]["accuracy"].notna().sum())
    assert points(reader, "left") == known < N_RUNS
    caption = text(reader, "#left figcaption")
    assert caption.startswith(
        f"accuracy against trace of the Hessian of the training objective: {known}"
    )
    assert f"{N_RUNS - known} have no such number" in caption
    assert "Share of samples whose most probable class is the label." in caption
    assert reader.execute_script(COLOURS, "left") != before
    assert points(reader, "right") == N_RUNS


def test_logarithms_leave_out_what_is_not_above_zero(reader):
    choose(reader, "#left", "x", "γ")
    runs = sum(int(table["gamma"].notna().sum()) for table in RUNS.values())
    assert points(reader, "left") == runs
    box = reader.find_element(By.CSS_SELECTOR, "#left [name=xlog]")
    assert not box.is_selected()
    box.send_keys(Keys.SPACE)
    assert points(reader, "left") == sum(int((t["gamma"] > 0).sum()) for t in RUNS.values())


def test_runs_are_filtered_and_coloured(reader):
    choose(reader, "#explore-filters", "experiment", "digits")
    assert points(reader, "left") == points(reader, "right") == len(RUNS["digits"])
    choose(reader, "#explore-filters", "model", "small CNN")
    assert points(reader, "left") == (RUNS["digits"]["model"] == "small_cnn").sum()
    choose(reader, "#explore-filters", "model", "all")
    choose(reader, "#explore-filters", "colour", "network")
    assert text(reader, "#legend").split("\n") == ["small CNN", "small ResNet"]
    colours = reader.execute_script(COLOURS, "left")
    assert len(colours) > 4
    choose(reader, "#explore-filters", "colour", "accuracy")
    assert text(reader, "#legend").startswith("accuracy: 0.")


def test_what_is_brushed_in_one_plot_shows_in_both_and_in_a_table(reader):
    before = reader.execute_script(COLOURS, "right")
    drag(reader, "left", (0.1, 0.02), (0.5, 0.85))
    said = text(reader, "#selected")
    selected = int(said.split()[0])
    assert 0 < selected < N_RUNS
    assert f"{selected} of them selected" in text(reader, "#left figcaption")
    assert f"{selected} of them selected" in text(reader, "#right figcaption")
    assert reader.execute_script(COLOURS, "right") != before
    rows = reader.find_elements(By.CSS_SELECTOR, "#selection tbody tr")
    assert len(rows) == min(20, selected)
    experiment, run, trace, *_ = (cell.text for cell in rows[0].find_elements(By.TAG_NAME, "td"))
    runs = RUNS[experiment].set_index("run")
    assert float(trace) == pytest.approx(runs.loc[run, "trace_objective"], rel=5.1e-3)
    reader.find_element(By.CSS_SELECTOR, "#explore-filters button").click()
    assert text(reader, "#selected") == "No runs selected."
    assert reader.execute_script(COLOURS, "right") == before


def test_a_run_says_what_it_is_and_how_to_make_it_by_keyboard(reader):
    choose(reader, "#explore-filters", "experiment", "digits")
    tab_to(reader, tag="CANVAS", figure="left")
    press(reader, Keys.ARROW_RIGHT)
    least = RUNS["digits"].sort_values("trace_objective").iloc[0]
    said = text(reader, "#run")
    assert said.startswith(f"digits: small CNN, {least['objective']}, seed {least['seed']};")
    assert f"ECE {least['ece']:.3g}" in said
    command = text(reader, "#run code")
    assert command.startswith(f"snakemake --cores 2 results/digits/{least['run']}/curvature/")
    press(reader, Keys.ARROW_RIGHT)
    assert text(reader, "#run") != said
    press(reader, Keys.ARROW_LEFT)
    assert text(reader, "#run") == said


def test_runs_are_selected_by_keyboard(reader):
    tab_to(reader, tag="CANVAS", figure="left")
    press(reader, Keys.ARROW_RIGHT, "s", *[Keys.ARROW_RIGHT] * 30, "s")
    selected = int(text(reader, "#selected").split()[0])
    assert 2 <= selected <= 31
    press(reader, Keys.ESCAPE)
    assert text(reader, "#selected") == "No runs selected."


def test_a_run_that_was_clicked_stays(reader):
    canvas = reader.find_element(By.CSS_SELECTOR, "#left canvas")
    canvas.send_keys(Keys.ARROW_RIGHT)
    said = text(reader, "#run")
    webdriver.ActionChains(reader).move_to_element(canvas).move_by_offset(40, 30).perform()
    assert text(reader, "#run") == said


def test_evidence_leads_to_the_plot_of_its_runs(reader):
    reader.find_element(
        By.CSS_SELECTOR, "#matrix a[href='#digits--c2_within_gamma--objective']"
    ).click()
    group = reader.find_element(By.ID, "digits--c2_within_gamma--objective")
    group.find_element(By.LINK_TEXT, "Plot the runs").click()
    assert points(reader, "left") == len(RUNS["digits"])
    assert "squared calibration error against trace" in text(reader, "#left figcaption")


def test_a_screen_reader_is_told(reader):
    for selector in ("#run", "#selected", "#verdict-count"):
        element = reader.find_element(By.CSS_SELECTOR, selector)
        assert element.get_attribute("aria-live") == "polite"
    canvas = reader.find_element(By.CSS_SELECTOR, "#left canvas")
    assert f"{N_RUNS} runs" in canvas.accessible_name
    cell = reader.find_element(By.CSS_SELECTOR, "#matrix a[href='#digits--c1_trend--objective']")
    assert cell.accessible_name.startswith("C1, curvature falls from γ = 0 to 5, own loss, digits:")
    for control in reader.find_elements(By.CSS_SELECTOR, "select, input, button, canvas"):
        assert control.accessible_name


def test_dark_is_dark_and_plots_are_drawn_anew(reader):
    for scheme, ink, least, most in (
        ("light", "26,26,26", 255, 255),
        ("dark", "232,230,225", 0, 40),
    ):
        media(reader, scheme)
        background = [int(c) for c in reader.execute_script(BACKGROUND)[4:-1].split(", ")]
        assert all(least <= channel <= most for channel in background)
        # That of the labels of axes.
        WebDriverWait(reader, 5).until(
            lambda _, ink=ink: ink in reader.execute_script(COLOURS, "left")
        )


def test_a_phone_scrolls_down_only(reader):
    window(reader, 360, 740, mobile=True)
    assert reader.execute_script(OVERFLOW) <= 0
    reader.find_element(By.CSS_SELECTOR, "#verdict-filters button").send_keys(Keys.ENTER)
    reader.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    assert reader.execute_script(OVERFLOW) <= 0
    assert reader.execute_script("return innerWidth") == 360
    matrix = reader.find_element(By.ID, "matrix")
    assert matrix.rect["x"] >= 0 and matrix.rect["x"] + matrix.rect["width"] <= 360
    drag(reader, "left", (0.3, 0.1), (0.9, 0.8))
    assert int(text(reader, "#selected").split()[0]) > 0


def test_paper_is_light_shows_no_controls_and_cuts_nothing(reader):
    window(reader, 1009, 680)  # A4 across, less the margins
    media(reader, "dark", "print")
    assert reader.execute_script(BACKGROUND) == "rgb(255, 255, 255)"
    assert not any(form.is_displayed() for form in reader.find_elements(By.TAG_NAME, "form"))
    assert reader.execute_script(OVERFLOW) <= 0
    assert reader.find_element(By.ID, "matrix").is_displayed()


def test_without_script_everything_but_plots_is_there(browser, address):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get("about:blank")
        browser.get(address)
        groups = browser.find_elements(By.CSS_SELECTOR, ".group")
        assert len(groups) > 50
        assert all(group.is_displayed() for group in groups)
        assert "needs a browser with script" in text(browser, "#explore-failed")
        assert not browser.find_element(By.ID, "explore-controls").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
