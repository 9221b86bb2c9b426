import pytest

from focal_curvature import registry


def test_every_registered_name_resolves_to_a_callable():
    for kind in ("models", "losses", "regularisers"):
        for name, path in registry.names(kind).items():
            factory = registry.resolve(path)
            assert callable(factory), name
            assert registry.source_file(path).name in factory.__code__.co_filename


def test_a_name_stands_for_its_path_and_a_path_for_itself():
    assert registry.import_path("losses", "focal") == "focal_curvature.losses.focal:focal"
    assert registry.import_path("losses", "my.module:loss") == "my.module:loss"


def test_an_unknown_name_gives_the_nearest():
    with pytest.raises(ValueError, match="did you mean focal"):
        registry.import_path("losses", "foccal")


def test_what_cannot_be_imported_is_named():
    with pytest.raises(ValueError, match="no_such:thing cannot be imported"):
        registry.resolve("no_such:thing")
    with pytest.raises(ValueError, match="math:thing cannot be imported"):
        registry.resolve("math:thing")
