//! The keeper: one small process that is the parent of every container, owns
//! their standard streams and logs, and records their exits before it tells
//! anyone. It knows processes and holds no policy.
//!
//! An engine starts one with [`spawn`], talks to it by [`client`] in the words
//! of [`message`], and reads a dead one's [`journal`]. The rest is the binary:
//! [`core`](crate::boot) is a single epoll loop that never touches a disk, with
//! launcher processes made by a zygote, writer threads and janitors around it.

mod admit;
pub mod boot;
pub mod client;
mod clock;
mod compact;
pub mod config;
mod core;
mod deadline;
mod dispatch;
mod exits;
mod handoff;
mod janitor;
pub mod journal;
mod launcher;
pub mod log;
pub mod message;
mod oom;
mod orphans;
mod own_cgroup;
pub mod packet;
mod poll;
mod pool;
mod pump;
mod requests;
mod roots;
pub mod run_folder;
mod server;
mod signals;
mod slab;
pub mod spawn;
mod store;
mod tell;
mod unit;
mod wake;
pub mod wire;
mod writers;
mod zygote;
