//! Profiles, policy and events of eBPF PHP Tracer: everything that is decided
//! or stored without touching the kernel.
//!
//! [`intf`] is the contract with the C side, [`op`] what is judged, [`site`] on
//! whose behalf, [`profile`] what was learnt, [`policy`] what follows from it,
//! [`event`] how it is told.

pub mod event;
pub mod intf;
pub mod op;
pub mod policy;
pub mod profile;
pub mod site;
