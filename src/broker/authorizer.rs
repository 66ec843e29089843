//! Authorization: the question every handler asks where Kafka does, and who answers it.
//!
//! Each row of the table of APIs says what its handler may ask about, and [`Authorizer::allows`]
//! is asked through [`Request::authorize`](crate::network::request::Request::authorize) alone, so
//! that the table stays true. Until there are rules everybody may do everything, as in Kafka
//! without an authorizer.

/// Operations on a resource; the numbers are Kafka's (`AclOperation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
}

/// The kinds of resources; the numbers are Kafka's (`org.apache.kafka.common.resource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ResourceKind {
    Topic = 2,
    Group = 3,
    Cluster = 4,
    TransactionalId = 5,
}

/// The resource that an operation is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    Cluster,
    TransactionalId(&'a str),
}

impl Resource<'_> {
    pub(crate) fn kind(&self) -> ResourceKind {
        match self {
            Resource::Topic(_) => ResourceKind::Topic,
            Resource::Group(_) => ResourceKind::Group,
            Resource::Cluster => ResourceKind::Cluster,
            Resource::TransactionalId(_) => ResourceKind::TransactionalId,
        }
    }
}

/// The words that changes of access control are refused with: Kafka's.
pub(crate) const NO_AUTHORIZER: &str = "No Authorizer is configured.";

/// Something a handler may ask about.
pub(crate) type Ask = (Operation, ResourceKind);

/// The one who answers, for the whole node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Authorizer {
    /// As Kafka without `authorizer.class.name`.
    #[default]
    AllowAll,
    /// For tests of what clients are told then.
    DenyAll,
}

impl Authorizer {
    /// Whether nobody is ever refused anything, so that what is denied need not be looked for.
    pub(crate) fn allows_all(self) -> bool {
        self == Authorizer::AllowAll
    }

    pub(crate) fn allows(
        self,
        _principal: &Principal,
        _operation: Operation,
        _resource: Resource<'_>,
    ) -> bool {
        match self {
            Authorizer::AllowAll => true,
            Authorizer::DenyAll => false,
        }
    }
}

/// The speaker on a connection, as its login settled it (`KafkaPrincipal`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

impl Principal {
    /// Whoever did not have to say who it is.
    pub(crate) fn anonymous() -> Principal {
        Principal { kind: "User", name: "ANONYMOUS".to_owned() }
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}
