import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from focal_curvature.data import arrays, digits, splits, tensors


def dataset(counts, pools=None):
    labels = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(0).shuffle(labels)
    n = len(labels)
    images = np.zeros((n, 1, 2, 2), np.uint8)
    classes = [str(k) for k in range(len(counts))]
    return arrays.Dataset("toy", images, labels, classes, pools or {"all": [0, n]}, 255)


@given(st.lists(st.integers(2, 30), min_size=2, max_size=6), st.data())
def test_stratified_draw_keeps_shares_within_one(counts, draw):
    labels = dataset(counts).labels
    size = draw.draw(st.integers(0, len(labels)))
    drawn, rest = splits.stratified(labels, size, seed=1)
    assert len(drawn) == size
    assert sorted([*drawn, *rest]) == list(range(len(labels)))
    for k, count in enumerate(counts):
        assert abs((labels[drawn] == k).sum() - size * count / len(labels)) < 1


def test_splits_are_disjoint_and_the_rest_is_the_test_split():
    found = splits.split(dataset([40, 40]), train=30, validation=10, test=None, seed=0)
    assert [len(found[name]) for name in splits.SPLITS] == [30, 10, 40]
    assert len(np.unique(np.concatenate(list(found.values())))) == 80


def test_official_test_images_stay_out_of_training():
    toy = dataset([50, 50], {"train": [0, 60], "test": [60, 100]})
    found = splits.split(toy, train=None, validation=20, test=None, seed=3)
    assert set(found["test"]) == set(range(60, 100))
    assert len(found["train"]) == 40
    assert max(found["train"].max(), found["validation"].max()) < 60


def test_test_images_do_not_depend_on_the_training_size():
    one, two = (
        splits.split(dataset([90, 90]), train=n, validation=10, test=60, seed=0) for n in (20, 80)
    )
    assert np.array_equal(one["test"], two["test"])
    assert np.array_equal(one["validation"], two["validation"])


def test_seed_decides_the_split():
    one, two, other = (
        splits.split(dataset([90, 90]), train=20, validation=10, test=60, seed=s) for s in (0, 0, 9)
    )
    assert np.array_equal(one["train"], two["train"])
    assert not np.array_equal(one["train"], other["train"])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"train": 90, "validation": 10, "test": 10}, "data.train: 90 images asked"),
        ({"train": None, "validation": 10, "test": None}, "give train or test"),
        ({"train": 1, "validation": 10, "test": 20}, "data.train: 1 images hold none of class"),
    ],
)
def test_what_cannot_be_split_is_refused(asked, words):
    with pytest.raises(ValueError, match=words):
        splits.split(dataset([50, 50]), **asked, seed=0)


def test_round_trip_through_files(tmp_path):
    found = splits.split(dataset([40, 40]), train=30, validation=10, test=None, seed=0)
    splits.write(tmp_path / "splits.json", found)
    for name, index in splits.read(tmp_path / "splits.json").items():
        assert np.array_equal(index, found[name])


def test_digits_are_the_1797_images(digits_folder):
    found = arrays.read(digits_folder)
    assert found.images.shape == (1797, 1, 8, 8)
    assert (found.images.max(), found.scale) == (16, 16)
    assert np.bincount(found.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_a_changed_array_is_refused(tmp_path):
    digits.prepare(tmp_path)
    raw = bytearray((tmp_path / "labels.npy").read_bytes())
    raw[-8] ^= 1
    (tmp_path / "labels.npy").write_bytes(raw)
    with pytest.raises(ValueError, match=r"labels\.npy: sha256 is .* expected"):
        arrays.read(tmp_path)


def test_training_images_are_normalised_and_others_by_the_same_numbers(data, digits_folder):
    train = data.splits["train"].images
    assert train.dtype == torch.float32
    assert train.mean().item() == pytest.approx(0, abs=1e-6)
    assert train.std(unbiased=False).item() == pytest.approx(1, abs=1e-6)
    # A blank pixel is the same value everywhere, and that value is `black`.
    assert data.splits["test"].images.min().item() == pytest.approx(data.black.item(), abs=1e-6)


def test_one_split_alone_is_what_it_is_among_all(data, digits_folder, splits_file):
    alone = tensors.load(digits_folder, splits_file, torch.device("cpu"), ["test"])
    assert list(alone.splits) == ["test"]
    assert alone.mean == data.mean
    assert torch.equal(alone.splits["test"].images, data.splits["test"].images)
    assert torch.equal(alone.splits["test"].labels, data.splits["test"].labels)


CHANGES = {
    **{"train": 30, "validation": 50, "test": 50, "split_seed": 0},
    "label_noise": 0.0,
}


def changed(digits_folder, splits_file, **changes):
    where = (digits_folder, splits_file, torch.device("cpu"))
    return tensors.load(*where, changes=CHANGES | changes).splits


def test_noise_is_on_the_share_of_the_training_labels_asked_for(data, digits_folder, splits_file):
    clean, some, more = (
        changed(digits_folder, splits_file, label_noise=share) for share in (0.0, 0.2, 0.5)
    )
    wrong = [noisy["train"].labels != clean["train"].labels for noisy in (some, more)]
    assert [int(w.sum()) for w in wrong] == [6, 15]
    assert (wrong[1] | ~wrong[0]).all()  # the same, and more
    assert set(more["train"].labels.tolist()) <= set(range(10))
    for name in ("validation", "test"):
        assert torch.equal(more[name].labels, clean[name].labels)
    assert torch.equal(more["train"].images, clean["train"].images)


def test_noise_takes_every_other_class_as_often():
    labels = np.full(3000, 2)
    noisy = splits.with_noise(labels, np.arange(3000), 0.9, 1, 4)
    assert (labels == 2).all()
    counts = np.bincount(noisy, minlength=4)
    assert counts[2] == 300
    assert (np.abs(counts[[0, 1, 3]] - 900) < 100).all()


def test_fewer_training_images_are_some_of_them_and_another_seed_others(
    data, digits_folder, splits_file
):
    dataset = arrays.read(digits_folder)
    size = {"validation": 50, "test": 50}
    many, few = (splits.split(dataset, train=n, seed=0, **size) for n in (60, 30))
    assert set(few["train"]) < set(many["train"])
    less = changed(digits_folder, splits_file)
    assert less["train"].images.shape[0] == 30
    other = changed(digits_folder, splits_file, split_seed=5)
    assert not torch.equal(less["test"].labels, other["test"].labels)


def test_subset_is_fixed_stratified_and_named_by_its_content(data):
    split = data.splits["test"]
    one, two, whole = (tensors.subset(split, n) for n in (20, 20, None))
    assert one.sha256 == two.sha256 != whole.sha256
    assert torch.bincount(one.split.labels).tolist() == [2] * 10
    with pytest.raises(ValueError, match="51 asked for, the split has 50"):
        tensors.subset(split, 51)
    with pytest.raises(ValueError, match=r"trajectory\.samples: 51 asked for"):
        tensors.subset(split, 51, "trajectory.samples")


def test_halves_are_disjoint_and_keep_the_shares_of_the_classes():
    labels = torch.tensor([0] * 40 + [1] * 21)
    split = tensors.Split(torch.arange(61.0).view(61, 1, 1, 1), labels)
    one, other = tensors.halves(split)
    images = torch.cat([one.images, other.images]).flatten()
    assert torch.equal(images.sort().values, torch.arange(61.0))
    assert (len(one.labels), len(other.labels)) == (30, 31)
    assert int((one.labels == 0).sum()) == 20
    assert torch.equal(labels[one.images.flatten().long()], one.labels)
