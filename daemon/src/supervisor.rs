//! Whoever started the daemon and watches over it, where that is systemd or speaks as it does: told when it is ready, when it stops, and
//! that it is alive.

use std::time::Duration;

use sd_notify::NotifyState;

/// While a model is fetched and loaded, the start may take so much longer each time.
const LONGER: Duration = Duration::from_secs(60);

/// Tells it something; nothing happens where nobody listens.
fn tell(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::warn!(%error, "the supervisor can't be told that the daemon is {state:?}");
    }
}

/// Asks for patience, again and again; until it is dropped.
pub async fn be_patient() {
    loop {
        tell(&NotifyState::ExtendTimeoutUsec(u32::try_from(LONGER.as_micros()).unwrap_or(u32::MAX)));
        tokio::time::sleep(LONGER / 3).await;
    }
}

/// The daemon can be asked.
pub fn ready() {
    tell(&NotifyState::Ready);
}

/// The daemon takes no more requests.
pub fn stopping() {
    tell(&NotifyState::Stopping);
}

/// Says that the daemon is alive as often as it is to, for ever; at once over where nobody wants to know.
///
/// It says so from the same workers that answer requests: if those hang, nothing is said, and the daemon is started anew.
pub async fn stay_alive() {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    loop {
        tell(&NotifyState::Watchdog);
        tokio::time::sleep(within / 2).await;
    }
}
