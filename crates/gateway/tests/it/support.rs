//! What several modules need: configurations, and a started gateway.

use tollgate_testkit::{Gateway, GatewayBuilder};

/// A gateway that is not started yet.
pub(crate) fn gateway() -> GatewayBuilder {
    Gateway::builder(env!("CARGO_BIN_EXE_tollgate"))
}

pub(crate) mod stage;
