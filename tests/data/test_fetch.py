import functools
import http.server
import socket
import threading
import time

import pytest
import tensorflow_datasets as tfds

from jaxae.data import builders, fetch
from jaxae.data.prepare import prepare
from jaxae.errors import InputError
from tests import userfiles

refused = functools.partial(userfiles.refused, prepare)


@pytest.fixture
def host(downloads, trusted, monkeypatch):
    """A host of our own that serves the small files under the registered names; yields its address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(downloads))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    known = builders.registered

    def registered(name):
        return {file: entry._replace(url=address + file) for file, entry in known(name).items()}

    monkeypatch.setattr(builders, "registered", registered)
    yield address
    server.shutdown()
    server.server_close()


def test_download_prepare_and_clean_up(host, mnist_arrays, tmp_path):
    prepare("mnist", None, tmp_path)
    source = tfds.data_source("mnist", split="train", data_dir=tmp_path, download=False)
    assert len(source) == len(mnist_arrays["train"][0])
    assert not [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()]


def test_download_of_other_bytes_is_refused_and_not_kept(host, tmp_path, monkeypatch):
    known = builders.registered("mnist")
    wrong = {file: entry._replace(sha256="0" * 64) for file, entry in known.items()}
    monkeypatch.setattr(builders, "registered", lambda _: wrong)
    message = refused("mnist", None, tmp_path)
    assert f"expected {'0' * 64}" in message
    assert not [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()]


def test_file_that_the_host_does_not_have(host, tmp_path, monkeypatch):
    known = builders.registered("mnist")
    moved = {file: entry._replace(url=entry.url + ".moved") for file, entry in known.items()}
    monkeypatch.setattr(builders, "registered", lambda _: moved)
    assert "the download failed (" in refused("mnist", None, tmp_path)


def test_an_answer_in_pieces_that_breaks_off_is_one_line(trusted, tmp_path, monkeypatch):
    class Broken(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"100\r\nhalf a piece")
            self.close_connection = True

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        entry = builders.registered("mnist")["t10k-labels-idx1-ubyte.gz"]
        entry = entry._replace(url=f"http://127.0.0.1:{server.server_port}/x")
        with pytest.raises(InputError, match="the download failed"):
            fetch.download(tmp_path / "file", entry, print)
        server.shutdown()
    assert not list(tmp_path.iterdir())


def test_verified_download_is_not_fetched_again(host, downloads, tmp_path, monkeypatch):
    entry = builders.registered("mnist")["t10k-labels-idx1-ubyte.gz"]
    path = fetch.download(tmp_path / "file", entry, print)
    assert path.read_bytes() == (downloads / "t10k-labels-idx1-ubyte.gz").read_bytes()
    monkeypatch.setattr(fetch, "reach", None)  # would fail if the network were asked again
    assert fetch.download(path, entry, print) == path


def test_no_network_is_one_line_at_once(trusted, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/x"
    known = builders.registered("mnist")
    monkeypatch.setattr(
        builders, "registered", lambda _: {file: entry._replace(url=url) for file, entry in known.items()}
    )
    start = time.monotonic()
    message = refused("mnist", None, tmp_path)
    assert time.monotonic() - start < 5
    assert "cannot reach 127.0.0.1" in message
    assert "`--from DIR` takes train-images-idx3-ubyte.gz" in message


def test_host_that_never_answers_costs_the_time_limit_only():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        with pytest.raises(InputError, match=r"cannot reach 127\.0\.0\.1"):
            fetch.reach(f"http://127.0.0.1:{silent.getsockname()[1]}/x", seconds=0.3)
        assert time.monotonic() - start < 3
