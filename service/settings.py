"""Everything that may be set from outside, as one frozen object built in `main`.

Each field is read from the environment as `ACUITY_<NAME>` (nested ones as
`ACUITY_LIMITS__FILES`). Importing this module reads nothing; building `Settings()` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Positive = Annotated[int, Field(gt=0)]
PositiveReal = Annotated[float, Field(gt=0)]


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


class Settings(BaseSettings):
    """How this installation runs.

    Attributes:
        bundle_dir: Folder of model bundles that goes before the ones shipped; None for these.
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
        api_keys: Keys of which a client must send one; none allows loopback clients only.
        max_upload_mb: Largest request body.
        max_wait_s: Longest `?wait=` that a client may ask for.
        log_format: `json` for collectors, `text` for people.
        max_queued: Studies that may wait for the inference worker; more are sent away for now.
        job_timeout_s: Longest run of one study before its worker is ended.
        pseudonym_key: Key of the hash that stands for identifiers in logs; None for a fresh one
            per run, so that pseudonyms of two runs cannot be joined.
        planning_profiles: The site's own planning profiles: a folder that goes before the shipped
            ones, or the file of one profile; None for the shipped ones only.
    """

    model_config = SettingsConfigDict(
        env_prefix="ACUITY_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    bundle_dir: Path | None = None
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
    max_upload_mb: Positive = 2048
    max_wait_s: Annotated[float, Field(ge=0)] = 300.0
    log_format: Literal["text", "json"] = "text"
    max_queued: Positive = 64
    job_timeout_s: PositiveReal = 900.0
    pseudonym_key: SecretStr | None = None
    planning_profiles: Path | None = None
