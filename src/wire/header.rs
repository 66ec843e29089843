//! The headers before a request and a response (schemas `RequestHeader`, `ResponseHeader`).
//!
//! A flexible request has header version 2, others version 1; a flexible response version 1,
//! others 0. ApiVersions is the exception: the client does not yet know what the broker speaks,
//! so the header of its response is always version 0 (KIP-511). The client id stays a
//! fixed-length string in all versions.

use std::borrow::Cow;

use crate::{ApiKey, DecodeError, EncodeError, Reader, Writer};

/// What precedes the body of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// Which API is asked for.
    pub api: ApiKey,
    /// The version of the body. Any number at all: whether it is served is not checked here.
    pub version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Cow<'a, str>>,
}

impl<'a> RequestHeader<'a> {
    /// Decodes the header and leaves the reader at the body.
    pub fn decode(reader: &mut Reader<'a>) -> Result<RequestHeader<'a>, DecodeError> {
        let number = reader.i16()?;
        let api = ApiKey::from_number(number).ok_or(DecodeError::UnknownApi(number))?;
        let version = reader.i16()?;
        let correlation_id = reader.i32()?;
        let client_id = reader.nullable_string(false)?;
        if api.is_flexible_request(version) {
            reader.skip_tagged_fields()?;
        }
        Ok(RequestHeader { api, version, correlation_id, client_id })
    }

    /// Appends the header to what is written.
    pub fn encode(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.i16(self.api.number());
        writer.i16(self.version);
        writer.i32(self.correlation_id);
        writer.nullable_string(self.client_id.as_deref(), false)?;
        if self.api.is_flexible_request(self.version) {
            writer.no_tags();
        }
        Ok(())
    }
}

/// Appends the header of a response to what is written.
pub fn encode_response_header(writer: &mut Writer, api: ApiKey, version: i16, correlation_id: i32) {
    writer.i32(correlation_id);
    if api.has_flexible_response_header(version) {
        writer.no_tags();
    }
}

/// Decodes the header of a response, and leaves the reader at the body. Gives the correlation id.
pub fn decode_response_header(
    reader: &mut Reader<'_>,
    api: ApiKey,
    version: i16,
) -> Result<i32, DecodeError> {
    let correlation_id = reader.i32()?;
    if api.has_flexible_response_header(version) {
        reader.skip_tagged_fields()?;
    }
    Ok(correlation_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;
    use crate::messages::{request_header, response_header};

    #[test]
    fn agrees_with_generated_code_for_every_api_and_version() {
        for api in ApiKey::ALL {
            for version in api.min_version()..=api.max_version() {
                let header = RequestHeader {
                    api,
                    version,
                    correlation_id: 77,
                    client_id: Some("me".into()),
                };
                let twin = request_header::RequestHeader {
                    request_api_key: api.number(),
                    request_api_version: version,
                    correlation_id: 77,
                    client_id: Some("me".into()),
                };
                let twin_version = if api.is_flexible_request(version) { 2 } else { 1 };
                let (mut writer, mut twin_writer) = (Writer::new(), Writer::new());
                header.encode(&mut writer).expect("fits");
                twin.encode(&mut twin_writer, twin_version).expect("fits");
                let bytes = writer.into_bytes();
                assert_eq!(bytes, twin_writer.into_bytes(), "{api:?} {version}");
                let mut reader = Reader::new(&bytes);
                assert_eq!(RequestHeader::decode(&mut reader), Ok(header));
                assert_eq!(reader.remaining(), 0);
                response_header_agrees(api, version);
            }
        }
    }

    fn response_header_agrees(api: ApiKey, version: i16) {
        let (mut writer, mut twin_writer) = (Writer::new(), Writer::new());
        encode_response_header(&mut writer, api, version, 78);
        let twin_version = i16::from(api.has_flexible_response_header(version));
        let twin = response_header::ResponseHeader { correlation_id: 78 };
        twin.encode(&mut twin_writer, twin_version).expect("fits");
        let bytes = writer.into_bytes();
        assert_eq!(bytes, twin_writer.into_bytes(), "{api:?} {version}");
        let mut reader = Reader::new(&bytes);
        assert_eq!(decode_response_header(&mut reader, api, version), Ok(78));
        assert_eq!(reader.remaining(), 0);
    }

    #[test]
    fn where_headers_become_flexible() {
        for (api, request, response) in [
            (ApiKey::Produce, 9, 9),
            (ApiKey::Fetch, 12, 12),
            (ApiKey::Metadata, 9, 9),
            (ApiKey::ApiVersions, 3, i16::MAX),
            (ApiKey::SaslHandshake, i16::MAX, i16::MAX),
            (ApiKey::OffsetDelete, i16::MAX, i16::MAX),
            (ApiKey::DescribeTopicPartitions, 0, 0),
        ] {
            for version in 0..20 {
                assert_eq!(api.is_flexible_request(version), version >= request, "{api:?}");
                let flexible = api.has_flexible_response_header(version);
                assert_eq!(flexible, version >= response, "{api:?} {version}");
            }
        }
    }

    #[test]
    fn an_unknown_api_is_refused_and_an_unknown_version_is_not() {
        assert_eq!(
            RequestHeader::decode(&mut Reader::new(&[0x7f, 0xff, 0, 0])),
            Err(DecodeError::UnknownApi(0x7fff))
        );
        // ApiVersions of a version to come: Kafka 4.4's client opens like this.
        let bytes = [0, 18, 0, 99, 0, 0, 0, 5, 0, 2, b'h', b'i', 0];
        let header = RequestHeader::decode(&mut Reader::new(&bytes)).expect("a header");
        assert_eq!((header.api, header.version), (ApiKey::ApiVersions, 99));
        for cut in 0..bytes.len() {
            assert!(RequestHeader::decode(&mut Reader::new(&bytes[..cut])).is_err());
        }
    }

    #[test]
    fn numbers_and_apis_belong_together() {
        for api in ApiKey::ALL {
            assert_eq!(ApiKey::from_number(api.number()), Some(api));
            assert!(api.min_version() <= api.max_version(), "{}", api.name());
        }
        assert_eq!(ApiKey::from_number(-1), None);
        assert_eq!(ApiKey::Produce.number(), 0);
        assert!(ApiKey::InitProducerId.spec().latest_version_unstable);
    }
}
