//! A record of the metadata log, and its framing.
//!
//! The value of a log record is: frame version (1), type, version, all unsigned varints, and the
//! message (`MetadataRecordSerde`). Keys are null.

use bytes::Bytes;
use ringlog_wire::messages as m;
use ringlog_wire::{Message, Reader, Writer};

use crate::error::MetadataError;
use crate::features::RecordVersions;
use crate::image::Image;

/// The only frame version there is.
const FRAME_VERSION: u32 = 1;

macro_rules! records {
    ($($variant:ident($($kind:tt)+);)*) => {
        /// A record of the metadata log, borrowed from the bytes it was read from.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "Kafka's own names, without `Record`")]
        pub enum MetadataRecord<'a> {
            $($variant($($kind)+),)*
        }

        impl<'a> MetadataRecord<'a> {
            /// Its type's number.
            pub fn api_key(&self) -> i16 {
                match self {
                    $(MetadataRecord::$variant(_) => <$($kind)+ as Message>::API_KEY,)*
                }
            }

            /// The newest version of its type.
            fn newest_version(&self) -> i16 {
                match self {
                    $(MetadataRecord::$variant(_) => <$($kind)+ as Message>::MAX_VERSION,)*
                }
            }

            fn decode_message(
                api_key: i16,
                version: i16,
                reader: &mut Reader<'a>,
            ) -> Result<MetadataRecord<'a>, MetadataError> {
                let malformed = |error: ringlog_wire::DecodeError| {
                    MetadataError::Malformed { api_key, version, reason: error.to_string() }
                };
                $(
                    if api_key == <$($kind)+ as Message>::API_KEY {
                        let (low, high) = (
                            <$($kind)+ as Message>::MIN_VERSION,
                            <$($kind)+ as Message>::MAX_VERSION,
                        );
                        if !(low..=high).contains(&version) {
                            return Err(MetadataError::Unknown { api_key, version });
                        }
                        let message = <$($kind)+ as Message>::decode(reader, version);
                        return Ok(MetadataRecord::$variant(message.map_err(malformed)?));
                    }
                )*
                Err(MetadataError::Unknown { api_key, version })
            }

            fn encode_message(
                &self,
                writer: &mut Writer,
                version: i16,
            ) -> Result<(), ringlog_wire::EncodeError> {
                match self {
                    $(MetadataRecord::$variant(message) => message.encode(writer, version),)*
                }
            }
        }
    };
}

records! {
    RegisterBroker(m::register_broker_record::RegisterBrokerRecord<'a>);
    UnregisterBroker(m::unregister_broker_record::UnregisterBrokerRecord);
    Topic(m::topic_record::TopicRecord<'a>);
    Partition(m::partition_record::PartitionRecord);
    Config(m::config_record::ConfigRecord<'a>);
    PartitionChange(m::partition_change_record::PartitionChangeRecord);
    FenceBroker(m::fence_broker_record::FenceBrokerRecord);
    UnfenceBroker(m::unfence_broker_record::UnfenceBrokerRecord);
    RemoveTopic(m::remove_topic_record::RemoveTopicRecord);
    DelegationToken(m::delegation_token_record::DelegationTokenRecord<'a>);
    UserScramCredential(m::user_scram_credential_record::UserScramCredentialRecord<'a>);
    FeatureLevel(m::feature_level_record::FeatureLevelRecord<'a>);
    ClientQuota(m::client_quota_record::ClientQuotaRecord<'a>);
    ProducerIds(m::producer_ids_record::ProducerIdsRecord);
    BrokerRegistrationChange(m::broker_registration_change_record::BrokerRegistrationChangeRecord);
    AccessControlEntry(m::access_control_entry_record::AccessControlEntryRecord<'a>);
    RemoveAccessControlEntry(m::remove_access_control_entry_record::RemoveAccessControlEntryRecord);
    NoOp(m::no_op_record::NoOpRecord);
    ZkMigrationState(m::zk_migration_state_record::ZkMigrationStateRecord);
    RemoveUserScramCredential(
        m::remove_user_scram_credential_record::RemoveUserScramCredentialRecord<'a>
    );
    BeginTransaction(m::begin_transaction_record::BeginTransactionRecord<'a>);
    EndTransaction(m::end_transaction_record::EndTransactionRecord);
    AbortTransaction(m::abort_transaction_record::AbortTransactionRecord<'a>);
    RemoveDelegationToken(m::remove_delegation_token_record::RemoveDelegationTokenRecord<'a>);
    RegisterController(m::register_controller_record::RegisterControllerRecord<'a>);
    ClearElr(m::clear_elr_record::ClearElrRecord<'a>);
}

impl<'a> MetadataRecord<'a> {
    /// Reads the value of a log record.
    pub fn decode(bytes: &'a [u8]) -> Result<MetadataRecord<'a>, MetadataError> {
        let malformed = |reason: &str| MetadataError::Malformed {
            api_key: -1,
            version: -1,
            reason: reason.to_owned(),
        };
        let mut rest = bytes;
        let mut next = || unsigned_varint(&mut rest).ok_or_else(|| malformed("a broken varint"));
        if next()? != FRAME_VERSION {
            return Err(malformed("a frame version other than 1"));
        }
        let (api_key, version) = (next()?, next()?);
        let number =
            |value: u32| i16::try_from(value).map_err(|_| malformed("a type beyond 16 bits"));
        let (api_key, version) = (number(api_key)?, number(version)?);
        let mut reader = Reader::new(rest);
        let record = MetadataRecord::decode_message(api_key, version, &mut reader)?;
        if reader.remaining() > 0 {
            let reason = format!("{} bytes too many", reader.remaining());
            return Err(MetadataError::Malformed { api_key, version, reason });
        }
        Ok(record)
    }

    /// The value of a log record, in the version that the image's `metadata.version` allows.
    pub fn encode(&self, image: &Image) -> Result<Bytes, MetadataError> {
        let versions = RecordVersions::of(image);
        self.encode_in_version(match self {
            MetadataRecord::RegisterBroker(_) => versions.register_broker(),
            MetadataRecord::Partition(_) | MetadataRecord::PartitionChange(_) => {
                versions.partition()
            }
            MetadataRecord::BrokerRegistrationChange(change) => version_of_change(change),
            // All others have one version, which every metadata.version allows.
            _ => self.newest_version(),
        })
    }

    /// The value of a log record that is kept as it came: these types have one version.
    pub(crate) fn encode_kept(&self) -> Result<Bytes, MetadataError> {
        self.encode_in_version(self.newest_version())
    }

    fn encode_in_version(&self, version: i16) -> Result<Bytes, MetadataError> {
        let mut writer = Writer::new();
        writer.uvarint(FRAME_VERSION);
        writer.uvarint(u32::try_from(self.api_key()).expect("types are not negative"));
        writer.uvarint(u32::try_from(version).expect("versions are not negative"));
        self.encode_message(&mut writer, version).map_err(|error| MetadataError::Malformed {
            api_key: self.api_key(),
            version,
            reason: error.to_string(),
        })?;
        Ok(writer.into_bytes())
    }
}

/// The lowest version that holds the change: a log may be read by those that know no newer one.
fn version_of_change(
    change: &m::broker_registration_change_record::BrokerRegistrationChangeRecord,
) -> i16 {
    if change.cordoned_log_dirs.is_some() {
        3
    } else if !change.log_dirs.is_empty() {
        2
    } else {
        i16::from(change.in_controlled_shutdown != 0)
    }
}

/// Takes an unsigned varint of at most five bytes from the front.
fn unsigned_varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        // Four bits are left in the fifth byte.
        if shift == 28 && byte > 0x0f {
            return None;
        }
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The effect of a record that is kept as it came on those that are kept already.
pub(crate) enum KeptRecord {
    Put((i16, Vec<u8>)),
    Remove((i16, Vec<u8>)),
}

impl MetadataRecord<'_> {
    /// The key under which the record is kept: its type, and whom or what it is about.
    ///
    /// # Panics
    /// For records that the image reads.
    pub(crate) fn kept(&self) -> KeptRecord {
        use KeptRecord::{Put, Remove};
        const TOKEN: i16 = <m::delegation_token_record::DelegationTokenRecord as Message>::API_KEY;
        const SCRAM: i16 =
            <m::user_scram_credential_record::UserScramCredentialRecord as Message>::API_KEY;
        const ACL: i16 =
            <m::access_control_entry_record::AccessControlEntryRecord as Message>::API_KEY;
        let key = self.api_key();
        match self {
            MetadataRecord::AccessControlEntry(acl) => Put((key, acl.id.0.to_vec())),
            MetadataRecord::RemoveAccessControlEntry(acl) => Remove((ACL, acl.id.0.to_vec())),
            MetadataRecord::DelegationToken(token) => {
                Put((key, token.token_id.as_bytes().to_vec()))
            }
            MetadataRecord::RemoveDelegationToken(token) => {
                Remove((TOKEN, token.token_id.as_bytes().to_vec()))
            }
            MetadataRecord::UserScramCredential(user) => {
                Put((key, scram_key(&user.name, user.mechanism)))
            }
            MetadataRecord::RemoveUserScramCredential(user) => {
                Remove((SCRAM, scram_key(&user.name, user.mechanism)))
            }
            MetadataRecord::RegisterController(controller) => {
                Put((key, controller.controller_id.to_be_bytes().to_vec()))
            }
            MetadataRecord::ZkMigrationState(_) => Put((key, Vec::new())),
            other => panic!("records of type {} are not kept", other.api_key()),
        }
    }
}

fn scram_key(name: &str, mechanism: i8) -> Vec<u8> {
    let mut key = vec![mechanism.cast_unsigned()];
    key.extend_from_slice(name.as_bytes());
    key
}
