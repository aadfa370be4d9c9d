//! Which deliveries a gateway takes, as a pure function.
//!
//! Holds: (1) the gateway that leads takes what is due at once, others only what nobody took for [`PATIENCE_MS`]: so
//! gateways seldom ask for the same, and none is needed; (2) never more than there is room for; (3) one vault has at most
//! [`PER_VAULT_MAX`] of one gateway's sends at a time: a receiver that is slow to answer holds up only whose it is.

use std::collections::HashMap;

use kluis_raft::model::{DeliveryId, TimeMs, VaultId};

/// How long another gateway than the leader leaves a delivery that is due.
pub const PATIENCE_MS: u64 = 3_000;
/// Deliveries of one vault that a gateway sends at once.
pub const PER_VAULT_MAX: usize = 4;

/// What is due: since when, and which.
pub type Due = (TimeMs, VaultId, DeliveryId);

/// Those of `due`, longest waiting first, that this gateway claims now. `busy` counts what it is sending already, by
/// vault; `room` is how many more it may.
pub fn plan(due: &[Due], now_ms: TimeMs, leads: bool, room: usize, busy: &HashMap<VaultId, usize>) -> Vec<(VaultId, DeliveryId)> {
    let patience_ms = if leads { 0 } else { PATIENCE_MS };
    let mut busy = busy.clone();
    let mut taken = Vec::new();
    for (since_ms, vault, delivery) in due {
        if taken.len() >= room {
            break;
        }
        let own = busy.entry(*vault).or_default();
        if since_ms.saturating_add(patience_ms) <= now_ms && *own < PER_VAULT_MAX {
            *own += 1;
            taken.push((*vault, *delivery));
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn due(since_ms: u64, vault: u128, id: u128) -> Due {
        (since_ms, VaultId(vault), DeliveryId(id))
    }

    #[test]
    fn the_leader_is_first_and_others_stand_in() {
        let waiting = [due(1_000, 1, 1), due(4_000, 1, 2)];
        let ids = |now, leads| plan(&waiting, now, leads, 10, &HashMap::new()).into_iter().map(|(_, id)| id.0).collect::<Vec<_>>();
        assert_eq!(ids(999, true), Vec::<u128>::new());
        assert_eq!(ids(1_000, true), [1]);
        assert_eq!(ids(3_999, false), Vec::<u128>::new());
        assert_eq!(ids(4_000, false), [1]);
        assert_eq!(ids(4_000, true), [1, 2]);
    }

    #[test]
    fn one_vault_does_not_take_all_places() {
        let mut waiting: Vec<Due> = (0..100).map(|id| due(0, 1, id)).collect();
        waiting.push(due(5, 2, 100));
        let taken = plan(&waiting, 10, true, 10, &HashMap::new());
        assert_eq!(taken.len(), PER_VAULT_MAX + 1);
        assert!(taken.contains(&(VaultId(2), DeliveryId(100))));
        let busy = HashMap::from([(VaultId(1), PER_VAULT_MAX)]);
        assert_eq!(plan(&waiting, 10, true, 10, &busy), [(VaultId(2), DeliveryId(100))]);
    }

    proptest! {
        #[test]
        fn never_more_than_there_is_room_for(waiting in prop::collection::vec((0u64..9_000, 0u128..4, any::<u128>()), 0..60), now in 0u64..9_000, leads: bool, room in 0usize..12) {
            let waiting: Vec<Due> = waiting.into_iter().map(|(since, vault, id)| due(since, vault, id)).collect();
            let taken = plan(&waiting, now, leads, room, &HashMap::new());
            prop_assert!(taken.len() <= room);
            for vault in 0..4 {
                prop_assert!(taken.iter().filter(|(of, _)| *of == VaultId(vault)).count() <= PER_VAULT_MAX);
            }
            for (vault, id) in taken {
                prop_assert!(waiting.iter().any(|(since, v, d)| (*v, *d) == (vault, id) && *since <= now));
            }
        }
    }
}
