"""Who may do what: keys with scopes, tokens of a provider, and what the audit trail says of it."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service.api import access
from service.api.app import create_app
from service.audit import Deed, Event, Trail, faults_of, kept_key, read_trail
from service.jobs.database import METADATA, connect
from service.jobs.keys import ApiKeys, Scope
from service.logs import Pseudonyms
from service.settings import OidcSettings, Settings
from tests.jobs_made import jobs_in
from tests.stages_made import STUDY_UID
from tests.unit.api.conftest import LOOPBACK, ServiceMaker, StandInRunner

FILES = [("files", ("a.dcm", b"content"))]
REPORT = f"/v1/studies/{STUDY_UID}/report"
ISSUER = "https://login.hospital.example"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = connect(f"sqlite:///{tmp_path / 'keys.sqlite'}")
    METADATA.create_all(made)
    return made


@pytest.fixture
def keys(engine: Engine) -> ApiKeys:
    return ApiKeys(engine)


class Provider:
    """An identity provider's signing keys, served on loopback."""

    def __init__(self) -> None:
        self.private: dict[str, rsa.RSAPrivateKey] = {}
        self.asked = 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                body = json.dumps({"keys": provider.public()}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def public(self) -> list[dict[str, Any]]:
        return [
            jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
            | {"kid": name, "use": "sig", "alg": "RS256"}
            for name, key in self.private.items()
        ]

    def turn_to(self, name: str) -> None:
        self.private = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048)}

    def token(self, name: str, **changes: object) -> str:
        claims: dict[str, object] = {
            "iss": ISSUER,
            "aud": "acuity",
            "sub": "dr-who",
            "exp": time.time() + 60,
            "scope": "openid acuity.read",
        }
        return jwt.encode(
            claims | changes, self.private[name], algorithm="RS256", headers={"kid": name}
        )

    def settings(self, **changes: object) -> OidcSettings:
        url = f"http://127.0.0.1:{self.server.server_port}/keys"
        values: dict[str, object] = {"issuer": ISSUER, "audience": "acuity", "jwks_url": url}
        return OidcSettings(**values | {"scope_prefix": "acuity."} | changes)


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    made.turn_to("first")
    yield made
    made.server.shutdown()
    made.server.server_close()


def serving(tmp_path: Path, keys: ApiKeys | None, **settings: object) -> TestClient:
    runner = StandInRunner()
    runner.gate.set()
    work_dir = tmp_path / "work"
    jobs = jobs_in(work_dir, runner)
    app = create_app(
        Settings(**settings), jobs, keys=keys, trail=Trail(work_dir / "audit", b"secret")
    )
    return TestClient(app, base_url=LOOPBACK, client=("10.1.2.3", 5000))


def bearer(key: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_a_key_is_kept_as_a_digest_of_its_secret_only(keys: ApiKeys, tmp_path: Path) -> None:
    key = keys.create("router", [Scope.SUBMIT])
    found = keys.find(key)
    assert found is not None
    assert (found.name, found.scopes) == ("key:router", {Scope.SUBMIT})
    assert keys.find(f"{key}x") is None
    assert keys.find(key.rpartition("_")[0]) is None
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("keys.sqlite*"))
    secret = key.split("_", 2)[2]
    assert secret.encode() not in kept
    assert hashlib.sha256(secret.encode()).hexdigest().encode() in kept


def test_expired_and_revoked_keys_open_nothing(keys: ApiKeys) -> None:
    short = keys.create("short", [Scope.READ], days=1e-9)
    assert keys.find(short) is None
    good = keys.create("good", [Scope.READ])
    key_id = keys.listing()[-1].key_id
    assert keys.revoke(key_id)
    assert not keys.revoke(key_id)
    assert keys.find(good) is None


WHAT = {
    Scope.SUBMIT: ("POST", "/v1/studies"),
    Scope.READ: ("GET", REPORT),
    Scope.REVIEW: ("GET", "/v1/reviews"),
    Scope.ADMIN: ("DELETE", f"/v1/studies/{STUDY_UID}"),
}


@pytest.mark.parametrize("held", Scope)
def test_a_scope_opens_its_own_routes_and_no_others(
    keys: ApiKeys, tmp_path: Path, held: Scope
) -> None:
    key = keys.create("client", [held])
    with serving(tmp_path, keys) as client:
        for scope, (method, path) in WHAT.items():
            if scope is Scope.REVIEW and "/v1/reviews" not in str(client.app.openapi()):  # type: ignore[attr-defined]
                continue
            files = FILES if method == "POST" else None
            answer = client.request(method, path, headers=bearer(key), files=files)
            if held in (scope, Scope.ADMIN):
                assert answer.status_code in {200, 202, 204, 404}, (scope, answer.text)
            else:
                assert answer.status_code == 403
                assert answer.json()["code"] == "insufficient_scope"
                assert f'scope="{scope}"' in answer.headers["www-authenticate"]


def test_waiting_for_the_report_is_reading(keys: ApiKeys, tmp_path: Path) -> None:
    submit = keys.create("router", [Scope.SUBMIT])
    both = keys.create("station", [Scope.SUBMIT, Scope.READ])
    with serving(tmp_path, keys) as client:
        answer = client.post("/v1/studies?wait=20", files=FILES, headers=bearer(submit))
        assert answer.status_code == 403
        answer = client.post("/v1/studies?wait=20", files=FILES, headers=bearer(both))
        assert answer.status_code == 200


def test_a_revoked_key_is_forgotten(
    keys: ApiKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "REMEMBERED_S", 0.0)
    key = keys.create("client", [Scope.READ])
    with serving(tmp_path, keys) as client:
        assert client.get("/v1/studies", headers=bearer(key)).status_code == 200
        keys.revoke(keys.listing()[0].key_id)
        assert client.get("/v1/studies", headers=bearer(key)).status_code == 401


def test_the_first_key_closes_the_service(
    keys: ApiKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "REMEMBERED_S", 0.0)
    with serving(tmp_path, keys) as client:
        assert client.get("/v1/studies").json()["code"] == "host_not_allowed"
        keys.create("client", [Scope.READ])
        assert client.get("/v1/studies").json()["code"] == "unauthorized"


def test_keys_of_the_settings_may_be_hashed_and_scoped(make_service: ServiceMaker) -> None:
    digest = hashlib.sha256(b"plain key").hexdigest()
    service = make_service(api_keys=[f"sha256:{digest}:read"])
    assert service.client.get("/v1/studies", headers=bearer("plain key")).status_code == 200
    answer = service.client.post("/v1/studies", files=FILES, headers=bearer("plain key"))
    assert answer.json()["code"] == "insufficient_scope"
    assert service.client.get("/v1/studies", headers=bearer(digest)).status_code == 401


def test_tokens_of_a_provider(provider: Provider, tmp_path: Path) -> None:
    with serving(tmp_path, None, oidc=provider.settings()) as client:
        good = provider.token("first")
        assert client.get("/v1/studies", headers=bearer(good)).status_code == 200
        answer = client.post("/v1/studies", files=FILES, headers=bearer(good))
        assert answer.json()["code"] == "insufficient_scope"
        listed = provider.token("first", scope=["acuity.submit"])
        answer = client.post("/v1/studies", files=FILES, headers=bearer(listed))
        assert answer.status_code == 202
        assert client.get("/v1/studies").status_code == 401


def test_tokens_that_are_not_believed(provider: Provider, tmp_path: Path) -> None:
    public = jwt.algorithms.RSAAlgorithm.from_jwk(json.dumps(provider.public()[0]))
    assert public is not None
    claims = {"iss": ISSUER, "aud": "acuity", "sub": "x", "exp": time.time() + 60}
    stranger = Provider()
    stranger.turn_to("first")
    tokens = {
        "expired": provider.token("first", exp=time.time() - 3600),
        "for another": provider.token("first", aud="other"),
        "of another": provider.token("first", iss="https://elsewhere.example"),
        "unsigned": jwt.encode(claims | {"scope": "acuity.read"}, None, algorithm="none"),
        "shared secret": jwt.encode(claims, "x" * 64, algorithm="HS256", headers={"kid": "first"}),
        "signed by a stranger": stranger.token("first"),
        "nonsense": "a.b.c",
    }
    stranger.server.shutdown()
    stranger.server.server_close()
    with serving(tmp_path, None, oidc=provider.settings()) as client:
        for why, token in tokens.items():
            assert client.get("/v1/studies", headers=bearer(token)).status_code == 401, why


def test_the_provider_turns_to_a_new_key(
    provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.tokens.REFRESH_S", 0.0)
    monkeypatch.setattr(access, "REMEMBERED_S", 0.0)
    with serving(tmp_path, None, oidc=provider.settings(keys_cached_s=0.2)) as client:
        old = provider.token("first")
        assert client.get("/v1/studies", headers=bearer(old)).status_code == 200
        provider.turn_to("second")
        new = provider.token("second")
        assert client.get("/v1/studies", headers=bearer(new)).status_code == 200
        time.sleep(0.3)
        assert client.get("/v1/studies", headers=bearer(old)).status_code == 401


def test_invented_tokens_do_not_make_us_ask_the_provider(
    provider: Provider, tmp_path: Path
) -> None:
    with serving(tmp_path, None, oidc=provider.settings()) as client:
        for number in range(20):
            other = jwt.encode(
                {"sub": "x"}, provider.private["first"], "RS256", headers={"kid": f"{number}"}
            )
            assert client.get("/v1/studies", headers=bearer(other)).status_code == 401
    assert provider.asked <= 2


def test_keys_are_not_fetched_without_tls() -> None:
    with pytest.raises(ValueError, match="without TLS"):
        OidcSettings(issuer="i", audience="a", jwks_url="http://login.hospital.example/keys")


def test_the_trail_says_who_did_what_and_names_no_study(keys: ApiKeys, tmp_path: Path) -> None:
    admin = keys.create("boss", [Scope.ADMIN])
    with serving(tmp_path, keys) as client:
        headers = bearer(admin)
        job = client.post("/v1/studies?wait=20", files=FILES, headers=headers)
        assert job.status_code == 200
        assert client.get(REPORT, headers=headers).status_code == 200
        assert client.get(REPORT, headers=bearer("wrong")).status_code == 401
        assert client.delete(f"/v1/studies/{STUDY_UID}", headers=headers).status_code == 204
        assert client.get(REPORT, headers=headers).status_code == 404
        assert client.get("/healthz").status_code == 200
    folder = tmp_path / "work" / "audit"
    records = [record for _, record in read_trail(folder) if record is not None]
    told = [
        (
            record["event_id"]["code"],
            record["event_action_code"],
            record["event_outcome_indicator"],
            record["active_participant"]["user_id"],
        )
        for record in records
    ]
    assert told == [
        ("110100", "E", 0, ""),
        ("110107", "C", 0, "key:boss"),
        ("110103", "R", 0, "key:boss"),
        ("110113", "E", 4, ""),
        ("110105", "D", 0, "key:boss"),
        ("110103", "R", 4, "key:boss"),
    ]
    assert {one["active_participant"]["network_access_point_id"] for one in records[1:]} == {
        "10.1.2.3"
    }
    pseudonym = Pseudonyms(b"secret").of(STUDY_UID)
    assert pseudonym in {one["id"] for one in records[2]["participant_objects"]}
    assert records[1]["participant_objects"][0]["id_type"]["meaning"] == "Job"
    text = "".join(path.read_text() for path in folder.glob("*.jsonl"))
    assert STUDY_UID not in text
    assert list(faults_of(folder, b"secret")) == []


@pytest.mark.parametrize("change", ["changed", "taken out", "cut"])
def test_a_trail_that_was_tampered_with_shows_it(tmp_path: Path, change: str) -> None:
    trail = Trail(tmp_path)
    for number in range(3):
        trail.note(Deed(Event.ACCESSED, f"key:{number}", "10.0.0.1"))
    trail.close()
    key = kept_key(tmp_path)
    assert list(faults_of(tmp_path, key)) == []
    [path] = tmp_path.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    if change == "changed":
        lines[1] = lines[1].replace(b"key:0", b"key:9")
    elif change == "taken out":
        del lines[1]
    else:
        lines[1] = lines[1][:40] + b"\n"
    path.write_bytes(b"".join(lines))
    assert list(faults_of(tmp_path, key)) != []
