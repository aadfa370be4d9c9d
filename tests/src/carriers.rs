//! Files that a scanner must not let pass, and harmless ones like them, made when a test runs.
//!
//! Owns: EICAR and what it is hidden in, ZIP and PDF by hand. Not: what is expected of them.
//! Holds: no file of the project, this one included, is itself a hit: the test string is put together here.

use std::io::Write as _;

use flate2::{
    Compression, Crc,
    write::{DeflateEncoder, ZlibEncoder},
};

/// The standard anti-virus test file.
pub fn eicar() -> Vec<u8> {
    let text = [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$", "EICAR-STANDARD-ANTIVIRUS-TEST-", "FILE!$H+H*"].concat();
    assert_eq!(text.len(), 68);
    text.into_bytes()
}

/// A ZIP with deflated members.
pub fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    zip_flagged(members, 0)
}

/// A ZIP whose members have these general purpose flags: 1 says that they are encrypted.
pub fn zip_flagged(members: &[(&str, &[u8])], flags: u16) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        let packed = encoder.finish().unwrap();
        let mut crc = Crc::new();
        crc.update(content);
        let offset = size(&out);
        let mut common = Vec::new();
        common.extend_from_slice(&flags.to_le_bytes());
        common.extend_from_slice(&8u16.to_le_bytes());
        common.extend_from_slice(&[0; 4]);
        common.extend_from_slice(&crc.sum().to_le_bytes());
        common.extend_from_slice(&size(&packed));
        common.extend_from_slice(&size(content));
        common.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend_from_slice(&[0; 2]);
        for part in [b"PK\x03\x04\x14\0".as_slice(), &common, name.as_bytes(), &packed] {
            out.extend_from_slice(part);
        }
        for part in [b"PK\x01\x02\x14\0\x14\0".as_slice(), &common, &[0; 10], &offset, name.as_bytes()] {
            directory.extend_from_slice(part);
        }
    }
    let entries = u16::try_from(members.len()).unwrap().to_le_bytes();
    let end = [b"PK\x05\x06\0\0\0\0".as_slice(), &entries, &entries, &size(&directory), &size(&out), &[0; 2]].concat();
    [out, directory, end].concat()
}

fn size(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap().to_le_bytes()
}

/// A PDF of these objects, numbered from 1; the first is its catalog.
pub fn pdf(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut places = Vec::new();
    for (number, object) in (1..).zip(objects) {
        places.push(out.len());
        out.extend_from_slice(format!("{number} 0 obj\n").as_bytes());
        out.extend_from_slice(object);
        out.extend_from_slice(b"\nendobj\n");
    }
    let table = out.len();
    let count = objects.len() + 1;
    out.extend_from_slice(format!("xref\n0 {count}\n0000000000 65535 f \n").as_bytes());
    for place in places {
        out.extend_from_slice(format!("{place:010} 00000 n \n").as_bytes());
    }
    out.extend_from_slice(format!("trailer\n<</Size {count}/Root 1 0 R>>\nstartxref\n{table}\n%%EOF\n").as_bytes());
    out
}

/// A PDF of one empty page; `catalog` is written into its catalog.
pub fn page(catalog: &str) -> Vec<u8> {
    pdf(&page_objects(catalog))
}

fn page_objects(catalog: &str) -> Vec<Vec<u8>> {
    vec![
        format!("<</Type/Catalog/Pages 2 0 R{catalog}>>").into_bytes(),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 10 10]>>".to_vec(),
    ]
}

/// A PDF that carries a file, packed; `dictionary` describes the file's stream.
pub fn pdf_with_file(dictionary: &str, content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    let packed = encoder.finish().unwrap();
    let mut objects = page_objects("/Names<</EmbeddedFiles<</Names[(a)5 0 R]>>>>");
    let head = format!("<<{dictionary}/Length {}>>\nstream\n", packed.len());
    objects.push([head.as_bytes(), &packed, b"\nendstream"].concat());
    objects.push(b"<</Type/Filespec/F(a)/EF<</F 4 0 R>>>>".to_vec());
    pdf(&objects)
}

/// The beginning of a PNG of this size.
pub fn png(width: u32, height: u32) -> Vec<u8> {
    [b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".as_slice(), &width.to_be_bytes(), &height.to_be_bytes(), &[8, 2, 0, 0, 0, 0, 0, 0, 0]].concat()
}
