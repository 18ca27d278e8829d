//! The frames that the daemon and the agent in a container exchange. The agent itself is the program beside this
//! library; the daemon's end of the line is `sandboxd-container`.

mod frames;
mod stream;

pub use frames::{
    FILE_DATA_KIND, FromAgent, MAX_FROM_AGENT_BYTES, MAX_TO_AGENT_BYTES, Output, START_KIND, Start, ToAgent,
    VERSION,
};
pub use stream::{Decoder, MAX_DATA_BYTES, Oversized, header};
