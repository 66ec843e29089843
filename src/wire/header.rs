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
