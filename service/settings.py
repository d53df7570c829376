"""Everything that may be set from outside, as one frozen object built in `main`.

Each field is read from the environment as `ACUITY_<NAME>` (nested ones as
`ACUITY_LIMITS__FILES`). Importing this module reads nothing; building `Settings()` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Positive = Annotated[int, Field(gt=0)]
PositiveReal = Annotated[float, Field(gt=0)]
AeTitle = Annotated[str, Field(pattern=r"^[ -\[\]-~]{1,16}$")]
"""Up to 16 printable characters without a backslash (PS3.5 6.2, VR AE)."""


class LimitSettings(BaseModel):
    """The most that one study may ask for; None keeps what `service.ingest.safety.Limits` says.

    Attributes:
        files: Files in a folder, members of an archive, references of a DICOMDIR.
        file_bytes: One file, inflated.
        total_bytes: All files of one input together, inflated.
        decode_timeout_s: For one frame in the decoding worker.
        decode_memory_bytes: Address space of the decoding worker.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: Positive | None = None
    file_bytes: Positive | None = None
    total_bytes: Positive | None = None
    decode_timeout_s: PositiveReal | None = None
    decode_memory_bytes: Positive | None = None


class StackSettings(BaseModel):
    """Tolerances and repairs of geometry; None keeps what `service.ingest.grid.StackPolicy` says.

    Attributes:
        misplacement_mm: No slice may lie further than this from its place on the regular grid.
        max_interpolated_slices: Missing interior slices that may be interpolated; 0 refuses gaps.
        max_tilt_degrees: Largest angle of the slice step to the normal.
        min_slices: Fewest slices of a usable stack.
        max_pitch_mm: Largest slice pitch of a usable stack.
        min_matrix: Fewest pixels along the longer side of a usable stack.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    misplacement_mm: PositiveReal | None = None
    max_interpolated_slices: Annotated[int, Field(ge=0)] | None = None
    max_tilt_degrees: Annotated[float, Field(ge=0, lt=45)] | None = None
    min_slices: Positive | None = None
    max_pitch_mm: PositiveReal | None = None
    min_matrix: Positive | None = None


class ListenerSettings(BaseModel):
    """How `acuity listen` takes DICOM associations.

    Attributes:
        host: Address to bind.
        port: Port to bind; 0 for a free one.
        ae_title: Our AE title, which a sender must call.
        calling_aes: AE titles that may send; none allows any sender, on this machine only.
        max_associations: Senders at the same time; more are turned away for now.
        max_instance_mb: Largest instance.
        max_receiving_mb: All instances being received at the same time.
        timeout_s: Silence after which an association is ended.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 11112
    ae_title: AeTitle = "ACUITY"
    calling_aes: tuple[AeTitle, ...] = ()
    max_associations: Positive = 25
    max_instance_mb: Positive = 512
    max_receiving_mb: Positive = 1024
    timeout_s: PositiveReal = 60.0


class ArchiveSettings(BaseModel):
    """A DICOMweb archive that studies are pulled from.

    Attributes:
        url: Root of its DICOMweb services, as in `https://pacs/dicom-web`.
        headers: Sent with every request, for example `Authorization`.
        ca_file: Certificates to trust; None for the usual ones.
        timeout_s: Longest wait for a connection or for more of an answer.
        reconcile_days: On start, studies of so many days that we do not know are pulled; 0 for
            none.
        orthanc_url: Root of Orthanc's own REST interface; its list of changes is followed from
            where it was left.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: HttpUrl
    headers: dict[str, SecretStr] = {}
    ca_file: Path | None = None
    timeout_s: PositiveReal = 20.0
    reconcile_days: Annotated[int, Field(ge=0)] = 0
    orthanc_url: HttpUrl | None = None


class StowTarget(BaseModel):
    """A DICOMweb archive that results are sent to; attributes as of `ArchiveSettings`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["stow"]
    url: HttpUrl
    headers: dict[str, SecretStr] = {}
    ca_file: Path | None = None
    timeout_s: PositiveReal = 20.0


class StoreTarget(BaseModel):
    """A C-STORE SCP that results are sent to.

    Attributes:
        host: Where it listens.
        port: Where it listens.
        ae_title: What it is called.
        calling_ae: What we call ourselves.
        timeout_s: Longest wait for an answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["cstore"]
    host: str
    port: Annotated[int, Field(gt=0, le=65535)]
    ae_title: AeTitle
    calling_ae: AeTitle = "ACUITY"
    timeout_s: PositiveReal = 20.0


class WebhookTarget(BaseModel):
    """A URL that is told of every finished job, by a signed message that names job and study only.

    Attributes:
        url: Receives a POST with a JSON body.
        secret: Key of the signature, shared with the receiver.
        ca_file: Certificates to trust; None for the usual ones.
        timeout_s: Longest wait for an answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["webhook"]
    url: HttpUrl
    secret: SecretStr
    ca_file: Path | None = None
    timeout_s: PositiveReal = 20.0


Target = Annotated[StowTarget | StoreTarget | WebhookTarget, Field(discriminator="kind")]


class OidcSettings(BaseModel):
    """The identity provider whose bearer tokens are believed (OpenID Connect).

    Attributes:
        issuer: As the tokens name it (`iss`).
        audience: What the tokens must be meant for (`aud`).
        jwks_url: Where the provider's public keys are.
        scope_claim: The claim that lists scopes, as text or as a list.
        scope_prefix: What stands before our own names there, for example `acuity.`.
        keys_cached_s: How long the keys are believed without asking again.
        leeway_s: How far clocks may differ.
        ca_file: Certificates to trust; None for the usual ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str
    audience: str
    jwks_url: HttpUrl
    scope_claim: str = "scope"
    scope_prefix: str = ""
    keys_cached_s: PositiveReal = 300.0
    leeway_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    ca_file: Path | None = None

    @field_validator("jwks_url")
    @classmethod
    def _is_protected(cls, url: HttpUrl) -> HttpUrl:
        if url.scheme != "https" and url.host not in {"127.0.0.1", "localhost", "[::1]"}:
            raise ValueError("keys fetched without TLS could be anybody's")
        return url


class TlsSettings(BaseModel):
    """What `acuity serve` shows of itself, and asks of its clients.

    Attributes:
        certificate: PEM file, with the intermediate certificates behind it.
        key: PEM file of its private key.
        key_password: Of that file, if it has one.
        client_ca: PEM file of those who may sign clients' certificates; set, only clients with
            such a certificate get through (mutual TLS). It stands in for no key and no token.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate: Path
    key: Path
    key_password: SecretStr | None = None
    client_ca: Path | None = None


class Settings(BaseSettings):
    """How this installation runs.

    Attributes:
        bundle_dir: Folder of model bundles that goes before the ones shipped; None for these.
        bundle_key: Public key (PEM) by which bundles of `bundle_dir` must be signed; None takes
            them unsigned.
        shadow_scorer: Folder of a candidate scorer that reads every study beside the serving one;
            how often the two differ is counted, nobody sees its answers. None for no candidate.
        shadow_localiser: The same for a candidate localiser.
        localiser_bundle: Name of the localiser's bundle, with `@version` to pin one.
        scorer_bundle: Name of the scorer's bundle, with `@version` to pin one.
        device: Where networks run; `auto` takes a GPU when torch sees one.
        threads: Cores a network may use; None for all that the process may run on.
        limits: Caps on what one study may ask for.
        stacks: Tolerances and repairs of geometry.
        work_dir: Where uploads, spooled archives and results lie; None for a fresh temporary
            folder per run.
        host: Address that `acuity serve` binds.
        port: Port that `acuity serve` binds; 0 for a free one.
        api_keys: Keys of which a client must send one, beside those made by `acuity keys`; they
            may do everything. Instead of a key, `sha256:DIGEST` or `sha256:DIGEST:SCOPE,SCOPE`.
            Without any key and without `oidc` only loopback clients are served.
        oidc: The identity provider whose bearer tokens are believed.
        tls: Certificate and key; None serves HTTP.
        max_connections: Requests at the same time; more are sent away for now.
        receive_timeout_s: Silence of a sender after which its request is ended.
        max_upload_mb: Largest request body.
        max_wait_s: Longest `?wait=` that a client may ask for.
        log_format: `json` for collectors, `text` for people.
        max_queued: Studies that may wait for the inference worker; more are sent away for now.
        job_timeout_s: Longest run of one study before its worker is ended.
        job_memory_mb: Most memory that the inference worker may take before it is ended.
        retention_days: Results are removed so long after their job ended; None keeps them.
        keep_studies_days: How long a study's images are kept after its report, so that it can be
            reviewed; given up earlier when the disk is at its watermark. 0 keeps none.
        pseudonym_key: Key of the hash that stands for identifiers in logs; None for a fresh one
            per run, so that pseudonyms of two runs cannot be joined.
        planning_profiles: The site's own planning profiles: a folder that goes before the shipped
            ones, or the file of one profile; None for the shipped ones only.
        database: SQLAlchemy URL of PostgreSQL or SQLite; None for SQLite in the work folder.
        min_free_mb: Below so much free disk nothing more is taken from outside.
        listener: How DICOM associations are taken.
        quiet_s: A study received from the network is complete when nothing of it came for so long.
        keep_received_h: How long a received study is kept, so that late slices join it.
        archives: Archives that studies are pulled from, by name.
        targets: Where results are delivered to, by name.
        delivery_give_up_h: How long a delivery is tried before it is left to a person.
    """

    model_config = SettingsConfigDict(
        env_prefix="ACUITY_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    bundle_dir: Path | None = None
    bundle_key: Path | None = None
    shadow_scorer: Path | None = None
    shadow_localiser: Path | None = None
    localiser_bundle: str = "localiser"
    scorer_bundle: str = "scorer"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Positive | None = None
    limits: LimitSettings = LimitSettings()
    stacks: StackSettings = StackSettings()
    work_dir: Path | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    api_keys: tuple[SecretStr, ...] = ()
    oidc: OidcSettings | None = None
    tls: TlsSettings | None = None
    max_connections: Positive = 256
    receive_timeout_s: PositiveReal = 60.0
    max_upload_mb: Positive = 2048
    max_wait_s: Annotated[float, Field(ge=0)] = 300.0
    log_format: Literal["text", "json"] = "text"
    max_queued: Positive = 64
    job_timeout_s: PositiveReal = 900.0
    job_memory_mb: Positive = 8192
    retention_days: PositiveReal | None = None
    keep_studies_days: Annotated[float, Field(ge=0)] = 7.0
    pseudonym_key: SecretStr | None = None
    planning_profiles: Path | None = None
    database: str | None = None
    min_free_mb: Annotated[int, Field(ge=0)] = 512
    listener: ListenerSettings = ListenerSettings()
    quiet_s: PositiveReal = 60.0
    keep_received_h: PositiveReal = 48.0
    archives: dict[str, ArchiveSettings] = {}
    targets: dict[str, Target] = {}
    delivery_give_up_h: PositiveReal = 168.0
