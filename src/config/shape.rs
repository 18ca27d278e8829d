//! The configuration as written: one field for each key, everything optional, no defaults, no ranges. What becomes
//! of it is decided in `check`. `config.toml.example` explains every key.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use toml::Table;

use crate::strict::object;

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub(super) struct FileShape {
    pub(super) state_dir: Option<String>,
    #[serde(deserialize_with = "object")]
    pub(super) server: ServerShape,
    #[serde(deserialize_with = "object")]
    pub(super) auth: AuthShape,
    #[serde(deserialize_with = "object")]
    pub(super) execution: ExecutionShape,
    #[serde(deserialize_with = "object")]
    pub(super) limits: PolicyShape,
    #[serde(deserialize_with = "object")]
    pub(super) compile_limits: PolicyShape,
    #[serde(deserialize_with = "object")]
    pub(super) executors: ExecutorsShape,
    #[serde(deserialize_with = "object")]
    pub(super) cache: CacheShape,
    #[serde(deserialize_with = "object")]
    pub(super) pool: PoolShape,
    #[serde(deserialize_with = "object")]
    pub(super) log: LogShape,
    /// By name; which keys each may have depends on its kind, so that the tables are read later.
    pub(super) runtimes: Option<BTreeMap<String, Table>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub(super) struct ServerShape {
    #[serde(deserialize_with = "one_or_many")]
    pub(super) listen: Option<Vec<String>>,
    pub(super) socket_mode: Option<String>,
    pub(super) tls_certificate: Option<String>,
    pub(super) tls_key: Option<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) cors_origins: Option<Vec<String>>,
    pub(super) max_body_bytes: Option<i64>,
    pub(super) max_connections: Option<i64>,
    pub(super) header_read_timeout_ms: Option<i64>,
    pub(super) body_read_timeout_ms: Option<i64>,
    pub(super) shutdown_timeout_ms: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub(super) struct AuthShape {
    pub(super) tokens: Option<String>,
    pub(super) open_to_anyone: Option<bool>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) unix_users: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExecutionShape {
    pub(super) runtime: Option<String>,
    pub(super) max_concurrent: Option<i64>,
    pub(super) queue_length: Option<i64>,
    pub(super) queue_timeout_ms: Option<i64>,
    pub(super) start_timeout_ms: Option<i64>,
    pub(super) cpu_millis: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub(super) struct PolicyShape {
    #[serde(deserialize_with = "object")]
    pub(super) default: LimitsShape,
    #[serde(deserialize_with = "object")]
    pub(super) max: LimitsShape,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub(super) struct LimitsShape {
    pub(super) wall_time_ms: Option<i64>,
    pub(super) cpu_time_ms: Option<i64>,
    pub(super) memory_bytes: Option<i64>,
    pub(super) processes: Option<i64>,
    pub(super) output_bytes: Option<i64>,
    pub(super) file_size_bytes: Option<i64>,
    pub(super) disk_bytes: Option<i64>,
    pub(super) open_files: Option<i64>,
    pub(super) stack_bytes: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExecutorsShape {
    #[serde(deserialize_with = "one_or_many")]
    pub(super) dirs: Option<Vec<String>>,
    pub(super) prepare: Option<bool>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) without_prestart: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub(super) struct CacheShape {
    pub(super) max_bytes: Option<i64>,
    pub(super) folder: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub(super) struct PoolShape {
    pub(super) max_ready: Option<i64>,
    pub(super) max_memory_bytes: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub(super) struct LogShape {
    pub(super) level: Option<String>,
    pub(super) format: Option<String>,
    pub(super) log_programs: Option<bool>,
}

/// `[runtimes.NAME]` of kind `native`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub(super) struct NativeShape {
    pub(super) kind: Option<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) allow_missing: Option<Vec<String>>,
    pub(super) rootfs: Option<String>,
    pub(super) uid_base: Option<i64>,
    pub(super) lanes: Option<i64>,
}

/// `[runtimes.NAME]` of kind `docker`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub(super) struct DockerShape {
    pub(super) kind: Option<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) allow_missing: Option<Vec<String>>,
    pub(super) host: Option<String>,
    pub(super) oci_runtime: Option<String>,
    pub(super) warm: Option<i64>,
}

/// `[runtimes.NAME]` of kind `containerd`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub(super) struct ContainerdShape {
    pub(super) kind: Option<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) allow_missing: Option<Vec<String>>,
    pub(super) address: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) oci_runtime: Option<String>,
    pub(super) snapshotter: Option<String>,
    pub(super) cgroup_driver: Option<String>,
    pub(super) warm: Option<i64>,
}

/// A lone string counts as a list of one: `SANDBOXD_SERVER__LISTEN=127.0.0.1:9000`.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    struct OneOrMany;

    impl<'de> serde::de::Visitor<'de> for OneOrMany {
        type Value = Vec<String>;

        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("a string or an array of strings")
        }

        fn visit_str<E>(self, one: &str) -> Result<Self::Value, E> {
            Ok(vec![one.to_owned()])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut many: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = many.next_element()? {
                all.push(one);
            }
            Ok(all)
        }
    }

    deserializer.deserialize_any(OneOrMany).map(Some)
}
