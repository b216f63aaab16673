//! The protobuf wire format (protobuf.dev/programming-guides/encoding) as fields with their exact bytes, so that a message can be
//! edited without losing what we do not know. It knows no message.

/// Not protobuf: the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// One field as it stands in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub number: u32,
    pub value: Value<'a>,
    /// Tag and value, byte by byte.
    pub raw: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// 4 or 8 bytes: no field that we read.
    Fixed,
}

impl<'a> Field<'a> {
    /// The bytes of a string, bytes or message field. **Errors**: another wire type.
    pub fn bytes(&self) -> Result<&'a [u8], Malformed> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed),
        }
    }

    /// **Errors**: another wire type. As every protobuf parser, values of 32 bits are cut to them.
    pub fn uint32(&self) -> Result<u32, Malformed> {
        match self.value {
            Value::Varint(value) => Ok(value as u32),
            _ => Err(Malformed),
        }
    }
}

/// The fields of `message` in their order; ends after the first error.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<Field<'a>, Malformed> {
        let start = self.rest;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
        if number == 0 || number >= 1 << 29 {
            return Err(Malformed);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups (3, 4) are in no message of LiveKit.
            _ => return Err(Malformed),
        };
        Ok(Field { number, value, raw: &start[..start.len() - self.rest.len()] })
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A string, bytes or message field.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// As proto3 writes it: nothing when empty.
pub fn put_text(out: &mut Vec<u8>, number: u32, text: &[u8]) {
    if !text.is_empty() {
        put_bytes(out, number, text);
    }
}

/// As proto3 writes it: nothing when 0.
pub fn put_uint(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        put_varint(out, u64::from(number) << 3);
        put_varint(out, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_varint_longer_than_64_bits_is_refused() {
        let longest = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(fields(&longest).next().unwrap().unwrap().value, Value::Varint(u64::MAX));
        let mut longer = longest;
        longer[10] = 0x02;
        assert_eq!(fields(&longer).next(), Some(Err(Malformed)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_is_written_is_read(number in 1u32..1 << 29, value in 1u64.., bytes: Vec<u8>) {
            let mut out = Vec::new();
            put_uint(&mut out, number, value);
            put_bytes(&mut out, number, &bytes);
            let read: Vec<_> = fields(&out).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(read.len(), 2);
            prop_assert_eq!((read[0].number, read[0].value), (number, Value::Varint(value)));
            prop_assert_eq!((read[1].number, read[1].value), (number, Value::Bytes(&bytes)));
            prop_assert_eq!([read[0].raw, read[1].raw].concat(), out);
        }

        #[test]
        fn the_raw_bytes_of_any_readable_input_are_that_input(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(read) = fields(&bytes).collect::<Result<Vec<_>, _>>() {
                prop_assert_eq!(read.iter().flat_map(|field| field.raw.to_vec()).collect::<Vec<_>>(), bytes);
            }
        }
    }
}
