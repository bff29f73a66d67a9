//! Who calls, where we may call, how we sign, and how we name things so that nobody can guess or mix them up.

pub mod caller;
pub mod destination;
pub mod fingerprint;
pub mod seal;
pub mod signature;
