//! What publishing tells of itself when somebody looks.

use std::collections::BTreeMap;

use super::{Outlet, Publishing};
use crate::config::Name;
use crate::telemetry::metrics::Snapshot;
use crate::telemetry::names::{self, BRIDGE, DESTINATION, SYSTEM};

impl Publishing {
    /// Puts what was published into a snapshot. `systems` are what the bridges speak to.
    pub fn figures(&self, systems: &BTreeMap<Name, &'static str>, out: &mut Snapshot) {
        let open = self.routes.open().map(|outlet| outlet.name().clone());
        let Some(meters) = self.routes.meters() else { return };
        meters.each(|topic, bridge, meter| {
            // Undeclared topics are on the open bridge, so there is one.
            let Some(bridge) = bridge.or(open.as_ref()) else { return };
            let system = systems.get(bridge).copied().unwrap_or_default();
            meter.tell(&[(SYSTEM, system), (DESTINATION, topic), (BRIDGE, bridge.as_str())], out);
        });
    }
}

impl Outlet {
    /// Puts what is in flight into a snapshot.
    pub fn figures(&self, out: &mut Snapshot) {
        let labels = [(BRIDGE, self.name().as_str())];
        out.put(&names::BRIDGE_IN_FLIGHT, &labels, self.budget().in_flight());
        out.put(&names::BRIDGE_IN_FLIGHT_BYTES, &labels, self.budget().bytes_in_flight());
    }
}
