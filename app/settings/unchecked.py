"""All sections of the settings, each valid, but not checked together."""

from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.settings.lanes import LaneLimits, lane_limits_of
from app.settings.sections import (
    ApiSettings,
    ContainerSettings,
    DatabaseSettings,
    EmbeddingSettings,
    ExecutorSettings,
    LoggingSettings,
    QdrantSettings,
    RetentionSettings,
    WorkerSettings,
)


class UncheckedSettings(BaseSettings):
    """Settings that may contradict each other; :class:`app.config.Settings` refuses those."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_ignore_empty=True,
        enable_decoding=False,
    )

    database: DatabaseSettings = DatabaseSettings()
    qdrant: QdrantSettings = QdrantSettings()
    executor: ExecutorSettings = ExecutorSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    worker: WorkerSettings = WorkerSettings()
    api: ApiSettings = ApiSettings()
    retention: RetentionSettings = RetentionSettings()
    container: ContainerSettings = ContainerSettings()
    logging: LoggingSettings = LoggingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings' signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use only the given values, so that tests don't depend on the machine's environment."""
        return (init_settings,)

    def value(self, key: str) -> object:
        """Return the value of a dotted key."""
        section, _, name = key.partition(".")
        return getattr(getattr(self, section), name)

    def lane_limits(self) -> LaneLimits:
        """Return each lane's threads; see :func:`lane_limits_of`."""
        return lane_limits_of(self.executor, self.database, self.qdrant)

    def for_container(self) -> dict[str, dict[str, Any]]:
        """Return nested plain values by section; secrets stay ``SecretStr``."""
        values: dict[str, dict[str, Any]] = self.model_dump()
        return values
