//! Calls of any method of any service by its descriptor: what is sent and what comes back are messages made at run time.

use hsmd_control::DESCRIPTORS;
use hsmd_tests::daemon::Daemon;
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};
use serde_json::Value as Json;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// How long a stream of answers is read: some have no end.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one without an end.
const GLANCE: Duration = Duration::from_millis(200);

/// A connection, and what there is to call on it.
#[derive(Clone)]
pub(super) struct Raw {
    channel: Channel,
    pub(super) pool: DescriptorPool,
}

/// Bytes there and back.
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        use bytes::BufMut as _;
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        use bytes::Buf as _;
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

impl Raw {
    pub(super) async fn connect(daemon: &Daemon) -> Self {
        let uri = daemon.variable("HSMD_ENDPOINT").to_owned();
        let endpoint = Endpoint::from_shared(uri).expect("an endpoint");
        Self {
            channel: endpoint.connect().await.expect("the daemon listens"),
            pool: DescriptorPool::decode(DESCRIPTORS).expect("the descriptors"),
        }
    }

    /// Calls a method with these messages; the answers until their end, or the refusal.
    pub(super) async fn call(
        &self,
        method: &MethodDescriptor,
        messages: Vec<DynamicMessage>,
    ) -> Result<Vec<DynamicMessage>, Status> {
        let mut client = Grpc::new(self.channel.clone());
        client
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let path = PathAndQuery::try_from(path).expect("a path");
        let sent: Vec<_> = messages.iter().map(DynamicMessage::encode_to_vec).collect();
        let request = Request::new(tokio_stream(sent));
        let mut answers = client.streaming(request, path, Bytes).await?.into_inner();
        let endless = method.name() == "Tail" || method.name() == "Watch";
        let patience = if endless { GLANCE } else { PATIENCE };
        let mut all = Vec::new();
        loop {
            match tokio::time::timeout(patience, answers.message()).await {
                Ok(Ok(Some(bytes))) => {
                    let answer = DynamicMessage::decode(method.output(), bytes.as_slice());
                    all.push(answer.expect("an answer"));
                }
                Ok(Ok(None)) => return Ok(all),
                Ok(Err(status)) => return Err(status),
                Err(_) if endless => return Ok(all),
                Err(_) => return Err(Status::unknown("no end in time")),
            }
        }
    }
}

/// What a client sends, one after the other.
fn tokio_stream(items: Vec<Vec<u8>>) -> impl tonic::codegen::tokio_stream::Stream<Item = Vec<u8>> + Send + 'static {
    tonic::codegen::tokio_stream::iter(items)
}

/// A message of JSON by the names of its fields; bytes are given as text, or as a list of numbers.
pub(super) fn message(descriptor: &MessageDescriptor, fields: &Json) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for (name, json) in fields.as_object().expect("an object") {
        let field = descriptor.get_field_by_name(name);
        let field = field.unwrap_or_else(|| panic!("{} has no {name}", descriptor.full_name()));
        message.set_field(&field, value(&field, json));
    }
    message
}

fn value(field: &FieldDescriptor, json: &Json) -> Value {
    match (json, field.kind()) {
        (Json::Array(list), _) if field.is_list() => Value::List(list.iter().map(|one| single(field, one)).collect()),
        _ => single(field, json),
    }
}

fn single(field: &FieldDescriptor, json: &Json) -> Value {
    match (json, field.kind()) {
        (Json::Object(_), Kind::Message(inner)) => Value::Message(message(&inner, json)),
        (Json::String(text), Kind::Bytes) => Value::Bytes(text.clone().into_bytes().into()),
        (Json::Array(bytes), Kind::Bytes) => {
            let byte = |byte: &Json| u8::try_from(byte.as_u64().expect("a byte")).expect("a byte");
            Value::Bytes(bytes.iter().map(byte).collect::<Vec<_>>().into())
        }
        (Json::String(text), _) => Value::String(text.clone()),
        (Json::Bool(flag), _) => Value::Bool(*flag),
        (Json::Number(number), Kind::Uint32) => {
            Value::U32(u32::try_from(number.as_u64().expect("a number")).expect("a number"))
        }
        (Json::Number(number), _) => Value::U64(number.as_u64().expect("a number")),
        (other, kind) => panic!("{}: {other} is no {kind:?}", field.name()),
    }
}
