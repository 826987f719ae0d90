//! The Lambda Runtime API in Rust, with nothing but its standard library: answers every event with itself.
//! A real function uses the crate `lambda_runtime`, whose programs run just so.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

const API: &str = "/2018-06-01/runtime/invocation";

/// Send one request; return the invocation's id, where the answer names one, and the body.
fn ask(address: &str, method: &str, path: &str, body: &[u8]) -> std::io::Result<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    write!(stream, "{method} {API}/{path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n")?;
    stream.write_all(body)?;
    let (mut id, mut size, mut reader) = (String::new(), 0, BufReader::new(stream));
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "lambda-runtime-aws-request-id" => id = value.to_owned(),
            "content-length" => size = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    let mut answer = vec![0; size];
    reader.read_exact(&mut answer)?;
    Ok((id, answer))
}

fn main() -> std::io::Result<()> {
    let address = std::env::var("AWS_LAMBDA_RUNTIME_API").expect("the hub says where its API is");
    loop {
        let (id, event) = ask(&address, "GET", "next", b"")?;
        ask(&address, "POST", &format!("{id}/response"), &event)?;
    }
}
