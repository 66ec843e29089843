//! Which limit holds for whom.
//!
//! A quota is set for a user, a client id or both, each by name or as the default of all who have
//! none of their own; or for an address. The most specific one counts (`DefaultQuotaCallback` of
//! Kafka): user and client id, user and default client, user, default user and client id, default
//! user and default client, default user, client id, default client. A default is a limit for each
//! whom it holds for, not for all of them together.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::rate::Rate;

/// What a quota limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuotaKind {
    /// `producer_byte_rate`: bytes of Produce requests in a second.
    Produce,
    /// `consumer_byte_rate`: bytes of Fetch answers in a second.
    Fetch,
    /// `request_percentage`: share of a thread's time; 100 is one core.
    Request,
    /// `controller_mutation_rate`: partitions created and deleted in a second.
    ControllerMutation,
}

impl QuotaKind {
    const ALL: [QuotaKind; 4] =
        [QuotaKind::Produce, QuotaKind::Fetch, QuotaKind::Request, QuotaKind::ControllerMutation];

    /// The key that a quota of this kind is set under.
    pub fn key(self) -> &'static str {
        match self {
            QuotaKind::Produce => "producer_byte_rate",
            QuotaKind::Fetch => "consumer_byte_rate",
            QuotaKind::Request => "request_percentage",
            QuotaKind::ControllerMutation => "controller_mutation_rate",
        }
    }
}

/// The key of the quota on new connections from one address, in a second.
pub const CONNECTION_CREATION_RATE: &str = "connection_creation_rate";

/// Whom a quota is for. A part that is not there is `None`; the default of its kind is
/// `Some(None)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entity<'a> {
    /// The principal's name.
    pub user: Option<Option<&'a str>>,
    /// The client id that requests state.
    pub client_id: Option<Option<&'a str>>,
    /// An address, as text.
    pub ip: Option<Option<&'a str>>,
}

/// Who shares a bucket under a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One client id of one user.
    UserAndClient,
    /// All clients of one user.
    User,
    /// One client id, whoever uses it.
    Client,
}

/// The limit that holds for a client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// In the unit of its [`QuotaKind`].
    pub per_second: f64,
    /// With whom it is shared.
    pub scope: Scope,
}

impl Limit {
    /// The limit as a rate with a burst.
    pub fn rate(&self, burst: Duration) -> Rate {
        Rate::new(self.per_second, burst)
    }
}

/// One value for each [`QuotaKind`].
type Values = [Option<f64>; 4];

#[derive(Debug, Clone, Default)]
struct OfUser {
    itself: Values,
    default_client: Values,
    clients: HashMap<String, Values>,
}

/// All quotas of a cluster, made for looking one up on every request.
#[derive(Debug, Clone, Default)]
pub struct ClientQuotas {
    users: HashMap<String, OfUser>,
    default_user: OfUser,
    clients: HashMap<String, Values>,
    default_client: Values,
    addresses: HashMap<IpAddr, f64>,
    default_address: Option<f64>,
    /// Whether any quota of the kind is set: where none is, nothing is looked up.
    any: [bool; 4],
}

impl ClientQuotas {
    /// The quotas of these entities: each with its keys and values. What Kafka's controller would
    /// not have taken (an unknown key, a value that is not above zero, an address that is none) is
    /// left out.
    pub fn new<'a>(quotas: impl IntoIterator<Item = (Entity<'a>, &'a str, f64)>) -> ClientQuotas {
        let mut all = ClientQuotas::default();
        for (entity, key, value) in quotas {
            if value > 0.0 {
                all.insert(entity, key, value);
            }
        }
        all
    }

    fn insert(&mut self, entity: Entity<'_>, key: &str, value: f64) {
        if let Some(address) = entity.ip {
            match address {
                _ if key != CONNECTION_CREATION_RATE => {}
                None => self.default_address = Some(value),
                Some(address) => {
                    if let Ok(address) = address.parse::<IpAddr>() {
                        self.addresses.insert(address.to_canonical(), value);
                    }
                }
            }
            return;
        }
        let Some(kind) = QuotaKind::ALL.into_iter().find(|kind| kind.key() == key) else { return };
        let Some(values) = self.values_mut(entity) else { return };
        values[kind as usize] = Some(value);
        self.any[kind as usize] = true;
    }

    fn values_mut(&mut self, entity: Entity<'_>) -> Option<&mut Values> {
        let of_user = match entity.user {
            Some(Some(user)) => Some(self.users.entry(user.to_owned()).or_default()),
            Some(None) => Some(&mut self.default_user),
            None => None,
        };
        Some(match (of_user, entity.client_id) {
            (Some(of_user), None) => &mut of_user.itself,
            (Some(of_user), Some(None)) => &mut of_user.default_client,
            (Some(of_user), Some(Some(client))) => {
                of_user.clients.entry(client.to_owned()).or_default()
            }
            (None, Some(Some(client))) => self.clients.entry(client.to_owned()).or_default(),
            (None, Some(None)) => &mut self.default_client,
            (None, None) => return None,
        })
    }

    /// Whether nobody is limited in this.
    pub fn is_unlimited(&self, kind: QuotaKind) -> bool {
        !self.any[kind as usize]
    }

    /// The limit that holds for a client.
    pub fn limit(&self, kind: QuotaKind, user: &str, client_id: &str) -> Option<Limit> {
        if self.is_unlimited(kind) {
            return None;
        }
        let (kind, own) = (kind as usize, self.users.get(user));
        let of_user = |of_user: &OfUser| {
            let client = of_user.clients.get(client_id).and_then(|values| values[kind]);
            let by_client = client.or(of_user.default_client[kind]);
            by_client
                .map(|value| (value, Scope::UserAndClient))
                .or(of_user.itself[kind].map(|value| (value, Scope::User)))
        };
        let of_client = || {
            let client = self.clients.get(client_id).and_then(|values| values[kind]);
            client.or(self.default_client[kind]).map(|value| (value, Scope::Client))
        };
        let found =
            own.and_then(of_user).or_else(|| of_user(&self.default_user)).or_else(of_client);
        found.map(|(per_second, scope)| Limit { per_second, scope })
    }

    /// How many connections an address may open in a second.
    pub fn connection_rate(&self, address: IpAddr) -> Option<f64> {
        self.addresses.get(&address.to_canonical()).copied().or(self.default_address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity<'a>(user: Option<Option<&'a str>>, client_id: Option<Option<&'a str>>) -> Entity<'a> {
        Entity { user, client_id, ip: None }
    }

    /// Each level hides those after it, for whom it holds.
    #[test]
    fn the_most_specific_quota_counts() {
        let (u, c) = (Some(Some("u")), Some(Some("c")));
        let levels = [
            (entity(u, c), Scope::UserAndClient),
            (entity(u, Some(None)), Scope::UserAndClient),
            (entity(u, None), Scope::User),
            (entity(Some(None), c), Scope::UserAndClient),
            (entity(Some(None), Some(None)), Scope::UserAndClient),
            (entity(Some(None), None), Scope::User),
            (entity(None, c), Scope::Client),
            (entity(None, Some(None)), Scope::Client),
        ];
        for first in 0..levels.len() {
            let set = levels.iter().enumerate().skip(first);
            let quotas =
                ClientQuotas::new(set.map(|(level, (entity, _))| {
                    (*entity, "producer_byte_rate", level as f64 + 1.0)
                }));
            let limit = quotas.limit(QuotaKind::Produce, "u", "c");
            let expected = Limit { per_second: first as f64 + 1.0, scope: levels[first].1 };
            assert_eq!(limit, Some(expected), "from level {first} on");
            assert_eq!(quotas.limit(QuotaKind::Fetch, "u", "c"), None);
            assert!(quotas.is_unlimited(QuotaKind::Fetch));
        }
        assert_eq!(ClientQuotas::default().limit(QuotaKind::Produce, "u", "c"), None);
    }

    #[test]
    fn a_quota_of_another_kind_hides_nothing() {
        let quotas = ClientQuotas::new([
            (entity(Some(Some("u")), None), "request_percentage", 50.0),
            (entity(None, Some(Some("c"))), "consumer_byte_rate", 7.0),
            (entity(None, Some(Some("c"))), "unheard_of", 7.0),
            (entity(None, Some(Some("c"))), "producer_byte_rate", 0.0),
        ]);
        let fetch = quotas.limit(QuotaKind::Fetch, "u", "c").unwrap();
        assert_eq!((fetch.per_second, fetch.scope), (7.0, Scope::Client));
        assert_eq!(quotas.limit(QuotaKind::Fetch, "u", "other"), None);
        assert_eq!(quotas.limit(QuotaKind::Produce, "u", "c"), None);
        assert_eq!(quotas.limit(QuotaKind::Request, "u", "c").unwrap().scope, Scope::User);
    }

    #[test]
    fn addresses_are_limited_by_themselves() {
        let ip = |ip| Entity { ip: Some(ip), ..Entity::default() };
        let quotas = ClientQuotas::new([
            (ip(Some("10.0.0.1")), CONNECTION_CREATION_RATE, 3.0),
            (ip(None), CONNECTION_CREATION_RATE, 100.0),
            (ip(Some("no address")), CONNECTION_CREATION_RATE, 1.0),
            (ip(Some("10.0.0.2")), "producer_byte_rate", 1.0),
        ]);
        let rate = |address: &str| quotas.connection_rate(address.parse().unwrap());
        assert_eq!(rate("10.0.0.1"), Some(3.0));
        assert_eq!(rate("::ffff:10.0.0.1"), Some(3.0));
        assert_eq!(rate("10.0.0.2"), Some(100.0));
        assert_eq!(ClientQuotas::default().connection_rate([10, 0, 0, 1].into()), None);
    }
}
