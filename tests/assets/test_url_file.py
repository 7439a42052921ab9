"""A single published file: found locally or in the cache, downloaded whole and verified."""

import hashlib
import pickle

import pytest

from crediting.assets import UrlFile, assets_of
from crediting.assets.messages import NotFetchedError
from crediting.errors import DataError

CONTENT = b"weights " * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def asset(url, sha256=SHA256, local=None):
    return UrlFile(
        what="the network",
        url=url,
        sha256=sha256,
        size=104_000_000,
        licence="MIT",
        key="extractor.weights",
        local=local,
    )


@pytest.mark.parametrize("sha256", [SHA256, SHA256[:8].upper(), None])
def test_it_is_fetched_into_the_cache_of_torch_once(site, torch_cache, sha256):
    weights = asset(site.put("net%20work.pth", CONTENT) + "?raw=true", sha256)
    site.put("net work.pth", CONTENT)
    with pytest.raises(NotFetchedError):
        weights.find()
    assert site.asked == []  # looking does not touch the network
    path = weights.fetch()
    assert path == torch_cache / "net work.pth" == weights.find() == weights.fetch()
    assert path.read_bytes() == CONTENT
    assert weights.digest() == SHA256
    assert len(site.asked) == 1
    assert [entry.name for entry in torch_cache.iterdir()] == ["net work.pth"]


def test_the_message_names_key_place_source_size_licence_and_what_to_do(torch_cache):
    with pytest.raises(NotFetchedError) as error:
        asset("https://example.org/models/net.pth").find()
    message = str(error.value)
    assert message.startswith("extractor.weights: the network is not here")
    assert str(torch_cache / "net.pth") in message
    assert "https://example.org/models/net.pth, 104 MB, licence MIT" in message
    assert "extractor.weights=<file>" in message
    assert "stage=fetch" in message


def test_an_empty_file_in_the_cache_does_not_count(site, torch_cache):
    torch_cache.mkdir(parents=True)
    (torch_cache / "net.pth").touch()
    weights = asset(site.put("net.pth", CONTENT))
    with pytest.raises(NotFetchedError):
        weights.find()
    assert weights.fetch().read_bytes() == CONTENT


def test_a_wrong_hash_leaves_nothing_and_says_what_came(site, torch_cache):
    expected = "0" * 64
    with pytest.raises(DataError) as error:
        asset(site.put("net.pth", CONTENT), expected).fetch()
    assert f"expected sha256 {expected}, got {SHA256}" in str(error.value)
    assert list(torch_cache.iterdir()) == []


def test_a_wrong_hash_does_not_replace_what_is_there(site, torch_cache):
    torch_cache.mkdir(parents=True)
    (torch_cache / "net.pth").write_bytes(b"mine")
    assert asset(site.put("net.pth", CONTENT), "0" * 64).fetch().read_bytes() == b"mine"
    assert site.asked == []


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_truncated_download_leaves_nothing(site, torch_cache, sha256):
    with pytest.raises(DataError, match="10 of 1,000 bytes"):
        asset(f"{site.address}/truncated/net.pth", sha256).fetch()
    assert list(torch_cache.iterdir()) == []


def test_a_web_page_is_no_file_of_weights(site, torch_cache):
    url = site.put("login.html", b"<html>please log in</html>")
    with pytest.raises(DataError, match="web page"):
        asset(url, None).fetch()
    assert list(torch_cache.iterdir()) == []


def test_what_is_not_published_is_told_with_its_address(site, torch_cache):
    with pytest.raises(DataError, match=r"extractor.weights: .*/gone.pth: HTTP Error 404"):
        asset(f"{site.address}/gone.pth").fetch()


def test_a_server_that_is_gone_is_told(site, torch_cache):
    url = site.put("net.pth", CONTENT)
    site.close()
    with pytest.raises(DataError, match=r"could not be fetched from http://127.*refused"):
        asset(url).fetch()
    assert list(torch_cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_told(site, torch_cache):
    torch_cache.parent.mkdir(parents=True)
    torch_cache.write_text("a file where the folder should be")
    with pytest.raises(DataError, match="could not be fetched"):
        asset(site.put("net.pth", CONTENT)).fetch()


def test_a_local_copy_wins_and_has_the_same_digest(site, torch_cache, tmp_path):
    (tmp_path / "copy.bin").write_bytes(CONTENT)
    weights = asset(site.put("net.pth", CONTENT), local=str(tmp_path / "copy.bin"))
    assert weights.find() == weights.fetch() == tmp_path / "copy.bin"
    assert weights.digest() == SHA256
    assert site.asked == []


def test_a_local_copy_that_is_not_there_is_not_fetched_instead(site, torch_cache, tmp_path):
    weights = asset(site.put("net.pth", CONTENT), local=str(tmp_path / "none.pth"))
    for method in (weights.find, weights.fetch, weights.digest):
        with pytest.raises(
            DataError, match=r"extractor\.weights: there is no file .*none"
        ) as error:
            method()
        assert not isinstance(error.value, NotFetchedError)
    assert site.asked == []


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "net.pth").write_bytes(CONTENT)
    assert asset("https://example.org/net.pth", local="~/net.pth").find() == tmp_path / "net.pth"


def test_the_digest_follows_the_content(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(b"one")
    weights = asset("https://example.org/net.pth", local=str(path))
    assert weights.digest() == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"another")
    assert weights.digest() == hashlib.sha256(b"another").hexdigest()


def test_assets_can_be_sent_to_workers():
    weights = asset("https://example.org/net.pth")
    assert pickle.loads(pickle.dumps(weights)) == weights


def test_a_part_without_needs_has_no_assets():
    class Part:
        def assets(self):
            return {"weights": asset("https://example.org/net.pth")}

    assert list(assets_of(Part())) == ["weights"]
    assert assets_of(object()) == {}
    assert assets_of(None) == {}
