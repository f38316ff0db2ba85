//! Splits a stream of bytes into MessagePack-RPC messages.
//!
//! MessagePack-RPC has no length before a message: where one ends is known
//! only by walking through its values. [`Scanner`] does that step by step (it
//! can be stopped at any byte and goes on there), in time proportional to the
//! bytes, in memory that is bounded by the depth alone. [`FrameReader`] adds
//! the bytes of a message that is not whole yet.
//!
//! What comes from the other end is checked for its *shape* only: an array of
//! three or four values, no deeper and no longer than allowed. Strings that
//! are no UTF-8 and fields that make no sense are the decoder's business.

mod error;
mod head;
mod reader;
mod scanner;

pub use error::FrameError;
pub use reader::FrameReader;
pub use scanner::Scanner;
