"""A server on the loopback that speaks the Hugging Face Hub's endpoints for files and commits."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LoopbackHub:
    """Repositories in memory, a log of requests, and faults to come.

    ``faults`` holds ``(method, part of the path, what)``, each used once: what is a status, "cut" (the
    connection closes in the middle of the file) or "hang" (no answer until the test is over).
    """

    def __init__(self):
        self.commits = {}  # repository -> {commit: {file: bytes}}
        self.branches = {}  # repository -> {branch: commit}
        self.tokens = {}  # repository -> the token that may read it
        self.lies = {}  # commit -> the commit that is answered in its place
        self.faults, self.log = [], []
        self.over = threading.Event()

    def commit(self, repository, files, branch="main"):
        digest = hashlib.sha1(repr((repository, sorted(files.items()))).encode()).hexdigest()
        self.commits.setdefault(repository, {})[digest] = dict(files)
        self.branches.setdefault(repository, {})[branch] = digest
        return digest

    def requests(self, part=""):
        return [line for line in self.log if part in line]

    @contextmanager
    def serving(self):
        hub = self

        class Handler(_Handler):
            state = hub

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            self.over.set()
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: LoopbackHub

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.state.log.append(f"POST {self.path}")
        if self.headers.get("Authorization") != "Bearer may-write":
            return self.send(401, {"error": "Invalid username or password."})
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.state.commit(name, {})
            return self.send(200, {"url": f"http://{self.headers['Host']}/{name}", "name": name})
        if self.path == "/api/validate-yaml":
            return self.send(200, {"errors": [], "warnings": []})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(.+)", self.path):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            return self.send(200, {"files": files})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^?]+).*", self.path):
            repository, branch = found.groups()
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            commit = self.state.commit(repository, files, branch)
            url = f"http://{self.headers['Host']}/{repository}/commit/{commit}"
            return self.send(200, {"success": True, "commitOid": commit, "commitUrl": url})
        return self.send(404, {"error": "no such endpoint"})

    def answer(self):
        state, path = self.state, self.path.partition("?")[0]
        state.log.append(f"{self.command} {path}")
        for fault in state.faults:
            method, part, what = fault
            if method == self.command and part in path:
                state.faults.remove(fault)
                break
        else:
            what = None
        if what == "hang":
            state.over.wait(60)
            self.close_connection = True
            return None
        if isinstance(what, int):
            return self.send(what, {"error": "as the test asked"})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            repository, revision = found[1], found[2] or "main"
            commit = state.branches.get(repository, {}).get(revision)
            return self.send(200 if commit else 404, {"id": repository, "sha": commit, "siblings": []})
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if not found:
            return self.send(404, {"error": "no such endpoint"})
        repository, revision, name = found.groups()
        token = state.tokens.get(repository)
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            return self.send(401, {"error": "Invalid username or password."}, "RepoNotFound")
        if repository not in state.commits:
            return self.send(404, {"error": "Repository not found"}, "RepoNotFound")
        commit = state.branches[repository].get(revision, revision)
        commit = state.lies.get(commit, commit)
        if commit not in state.commits[repository]:
            return self.send(404, {"error": f"Invalid rev id: {revision}"}, "RevisionNotFound")
        content = state.commits[repository][commit].get(name)
        if content is None:
            return self.send(404, {"error": "Entry not found"}, "EntryNotFound")
        begin = int(re.fullmatch(r"bytes=(\d+)-.*", self.headers.get("Range", "bytes=0-"))[1])
        self.send_response(206 if begin else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(content) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            sent = content[begin:]
            self.wfile.write(sent[: len(sent) // 2] if what == "cut" else sent)
            if what == "cut":
                self.wfile.flush()
                self.close_connection = True
        return None

    def send(self, status, content, error=None):
        body = json.dumps(content).encode()
        self.send_response(status)
        if error:
            self.send_header("X-Error-Code", error)
            self.send_header("X-Error-Message", content["error"])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
