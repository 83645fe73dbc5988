//! What the end-to-end tests share: a session of the tracer, its output, and the suite's runner.
//!
//! Everything here runs as root, on this kernel, with real PHP. A test that cannot run fails and says why,
//! unless its reason is on the list of known limits (`KNOWN_LIMITS`).

pub mod arena;
pub mod bypass;
pub mod chain;
pub mod demonstration;
pub mod fpm;
pub mod session;
pub mod suite;
