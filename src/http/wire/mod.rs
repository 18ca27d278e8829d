//! What travels over HTTP, to the letter of the contract, and its translation to and from the engine's own types.
//! Nothing is decided here.

pub(super) mod reading;
pub(super) mod request;
pub(super) mod response;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How bytes stand in a JSON string.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    /// As text; towards the client, bytes that are no UTF-8 become U+FFFD.
    #[default]
    Utf8,
    /// Base64 with the standard alphabet and padding.
    Base64,
}
