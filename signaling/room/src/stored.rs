//! How types without serde are kept in the journal: protobuf messages as their bytes, references and times as numbers.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use signaling_protocol::Message;

/// A protobuf message.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stored<M>(pub(crate) M);

impl<M> Deref for Stored<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.0
    }
}

impl<M> DerefMut for Stored<M> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.0
    }
}

impl<M: Message> Serialize for Stored<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.encode_to_vec())
    }
}

impl<'de, M: Message + Default> Deserialize<'de> for Stored<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        M::decode(bytes.as_slice()).map(Self).map_err(|_| D::Error::custom("not the message"))
    }
}

macro_rules! reference {
    ($name:ident, $of:ty) => {
        pub(crate) mod $name {
            use serde::{Deserialize, Deserializer, Serialize, Serializer};

            pub(crate) fn serialize<S: Serializer>(value: &$of, serializer: S) -> Result<S::Ok, S::Error> {
                (value.index, value.generation).serialize(serializer)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$of, D::Error> {
                let (index, generation) = <(u32, u32)>::deserialize(deserializer)?;
                Ok(<$of>::new(index, generation))
            }
        }
    };
}

reference!(ingress, engine_base::IngressRef);
reference!(egress, engine_base::EgressRef);
reference!(data, engine_base::DataRef);

pub(crate) mod time {
    use engine_base::TimeNs;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
    pub(crate) fn serialize<S: Serializer>(value: &TimeNs, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.0)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TimeNs, D::Error> {
        u64::deserialize(deserializer).map(TimeNs)
    }
}

pub(crate) mod time_option {
    use engine_base::TimeNs;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes fields by reference")]
    pub(crate) fn serialize<S: Serializer>(value: &Option<TimeNs>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(|time| time.0).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TimeNs>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(TimeNs))
    }
}
