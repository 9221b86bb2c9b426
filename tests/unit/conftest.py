"""A small real data set: sixty digits on disk, as the workflow lays them out."""

import pytest
import torch

from focal_curvature.data import arrays, digits, splits, tensors

# Of tiny tensors: threads that wait for each other beside other work take 30 times as long.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    digits.prepare(folder)
    return folder


@pytest.fixture(scope="session")
def splits_file(tmp_path_factory, digits_folder):
    file = tmp_path_factory.mktemp("splits") / "splits.json"
    dataset = arrays.read(digits_folder)
    splits.write(file, splits.split(dataset, train=60, validation=40, test=50, seed=0))
    return file


@pytest.fixture(scope="session")
def data(digits_folder, splits_file):
    return tensors.load(digits_folder, splits_file, torch.device("cpu"))
