//! `podctl cp`

use std::{
    fs::File,
    io::{self, Read},
    thread,
};

use proto::wire::PathLocated;

use super::copy::{How, Place, cause, pipe};
use crate::{
    args::{Action, Args, Command, Operands, switch, value},
    dial::Engine,
    error::{Failure, Outcome},
    sys,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "cp",
    about: "Copy files/folders between a container and the local filesystem",
    description: "Copy the contents of SRC_PATH to the DEST_PATH.\n\nYou can copy from the container's file system to the local machine or the reverse, from the local filesystem to the container. If \"-\" is specified for either the SRC_PATH or DEST_PATH, one can also stream a tar archive from STDIN or to STDOUT. The CONTAINER can be a running or stopped container. The SRC_PATH or DEST_PATH can be a file or a directory.",
    usage: "[options] [CONTAINER:]SRC_PATH [CONTAINER:]DEST_PATH",
    examples: &["cp ctrID:/myapp/app.conf /myapp", "cp /myapp/. ctrID:/myapp", "cp ctrID:/etc - > etc.tar"],
    flags: &[&[
        switch("archive", "Chown copied files to the container's user").short('a').default("true"),
        switch("overwrite", "Allow to overwrite directories with non-directories and vice versa"),
        switch("pause", "Deprecated").short('p'),
    ]],
    operands: Operands::Exactly(2),
    action: Action::Run(run),
    ..Command::EMPTY
};

/// What was typed for one end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// `-`: a tar archive on stdin or stdout.
    Stream,
    /// A path, in a container where one is named.
    Path { container: Option<String>, path: String },
}

impl End {
    fn parse(text: &str) -> End {
        // What begins like a path is one, whatever colons it has.
        match text.split_once(':').filter(|_| !text.starts_with(['.', '/'])) {
            Some((container, path)) => End::Path { container: Some(container.to_owned()), path: path.to_owned() },
            None if matches!(text, "-" | "/dev/stdin" | "/dev/stdout") => End::Stream,
            None => End::Path { container: None, path: text.to_owned() },
        }
    }

    fn in_container(&self) -> bool {
        matches!(self, End::Path { container: Some(_), .. })
    }
}

fn ends(source: &str, target: &str) -> Result<(End, End), Failure> {
    let ends = (End::parse(source), End::parse(target));
    let empty = |end: &End| matches!(end, End::Path { path, .. } if path.is_empty());
    let words = if empty(&ends.0) || empty(&ends.1) {
        "you must specify paths"
    } else if !ends.0.in_container() && !ends.1.in_container() {
        "you must specify one container"
    } else {
        return Ok(ends);
    };
    Err(Failure::invalid(format!("invalid arguments \"{source}\", \"{target}\": {words}")))
}

/// Whether what is in a directory is meant, and not the directory.
fn is_content(path: &str) -> bool {
    path == "." || path.ends_with("/.")
}

/// One end, opened.
struct Opened {
    place: Place,
    typed: String,
    at: PathLocated,
}

async fn open(engine: &Engine, container: Option<&str>, typed: &str) -> Result<Opened, Failure> {
    let place = match container {
        Some(name) => Place::container(engine, name).await?,
        None => Place::host(engine)?,
    };
    let mut path = if container.is_some() { typed.to_owned() } else { value::absolute(typed)? };
    if is_content(typed) && !is_content(&path) {
        // To make a path absolute takes away its last dot, which says that it is a directory.
        path.push_str("/.");
    }
    let at = place.locate(&path).await?;
    Ok(Opened { place, typed: typed.to_owned(), at })
}

fn base(path: &[u8]) -> Vec<u8> {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec()
}

fn parent(path: &[u8]) -> Vec<u8> {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(0) | None => b"/".to_vec(),
        Some(slash) => path[..slash].to_vec(),
    }
}

/// Which name the source gets, empty = only what is in it, and in which directory.
fn plan(source: &PathLocated, content: bool, target: &PathLocated) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let own = if source.directory && content { Vec::new() } else { base(&source.path) };
    match (target.found, target.directory) {
        (true, true) => Ok((own, target.path.clone())),
        (true, false) if source.directory => {
            Err(Failure::invalid("destination must be a directory when copying a directory"))
        }
        _ => Ok((base(&target.path), parent(&target.path))),
    }
}

fn run(engine: &Engine, args: &Args) -> Outcome {
    let [source, target] = args.operands.as_slice() else { return Err(Failure::invalid("accepts 2 arg(s)")) };
    let (source, target) = ends(source, target)?;
    let how = How { chown: args.switch("archive").unwrap_or(true), overwrite: args.is("overwrite") };
    engine.block_on(async {
        match (source, target) {
            (End::Stream, End::Path { container, path }) => from_stdin(engine, container.as_deref(), &path, how).await,
            (End::Path { container, path }, End::Stream) => {
                let source = open_source(engine, container.as_deref(), &path).await?;
                to_stdout(&source).await
            }
            (End::Path { container, path }, End::Path { container: to, path: target }) => {
                let source = open_source(engine, container.as_deref(), &path).await?;
                let target = open(engine, to.as_deref(), &target).await?;
                copy(&source, &target, how).await
            }
            (End::Stream, End::Stream) => Ok(()),
        }?;
        Ok(0)
    })
}

async fn open_source(engine: &Engine, container: Option<&str>, path: &str) -> Result<Opened, Failure> {
    let source = open(engine, container, path).await?;
    if source.at.found { Ok(source) } else { Err(source.place.missing(path)) }
}

async fn copy(source: &Opened, target: &Opened, how: How) -> Result<(), Failure> {
    if !target.at.found && !target.at.parent {
        return Err(target.place.missing(&target.typed));
    }
    let (name, directory) = plan(&source.at, is_content(&source.typed), &target.at)?;
    let (reader, writer) = pipe()?;
    let (out, into) = tokio::join!(
        source.place.pack(source.at.path.clone(), name, writer),
        target.place.unpack(directory, how, reader),
    );
    cause(out, into)
}

async fn to_stdout(source: &Opened) -> Result<(), Failure> {
    let content = source.at.directory && is_content(&source.typed);
    let name = if content { Vec::new() } else { base(&source.at.path) };
    let (reader, writer) = pipe()?;
    // A pipe of our own: if we are killed, who packs sees it.
    let relay = thread::spawn(move || io::copy(&mut File::from(reader), &mut *sys::standard(1)));
    let packed = source.place.pack(source.at.path.clone(), name, writer).await;
    match relay.join() {
        Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => sys::die_of_broken_pipe(),
        Ok(Err(error)) => Err(Failure::io("write to stdout", &error)),
        Ok(Ok(_)) | Err(_) => packed,
    }
}

async fn from_stdin(engine: &Engine, container: Option<&str>, path: &str, how: How) -> Result<(), Failure> {
    let target = open(engine, container, path).await?;
    if !target.at.found && (path.ends_with('/') || !target.at.parent) {
        return Err(target.place.missing(path));
    }
    if !target.at.found || !target.at.directory {
        return Err(Failure::invalid("destination must be a directory when copying from stdin"));
    }
    let mut stdin = io::stdin().lock();
    let mut begin = vec![0; 512];
    let length = read_up_to(&mut stdin, &mut begin).map_err(|error| Failure::io("read stdin", &error))?;
    begin.truncate(length);
    drop(stdin);
    if !is_archive(&begin) {
        return Err(Failure::invalid("source must be a (compressed) tar archive when copying from stdin"));
    }
    let (reader, writer) = pipe()?;
    // A pipe of our own: if we are killed, who unpacks sees it. The thread may outlive the copy, but not us.
    thread::spawn(move || io::copy(&mut io::Cursor::new(begin).chain(io::stdin().lock()), &mut File::from(writer)));
    target.place.unpack(target.at.path.clone(), how, reader).await
}

/// Fills `buffer` as far as there is something to read.
fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

/// Whether this is the first block of a tar archive, perhaps an empty one, or something compressed.
fn is_archive(block: &[u8]) -> bool {
    const GZIP: &[u8] = &[0x1f, 0x8b];
    const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    if block.starts_with(GZIP) || block.starts_with(ZSTD) {
        return true;
    }
    let Ok(block) = <&[u8; 512]>::try_from(block) else { return false };
    if block.iter().all(|byte| *byte == 0) {
        return true;
    }
    // tar(5): the sum of all bytes, those of the sum itself taken as blanks, in octal.
    let sum: u32 =
        block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
    let text: String = block[148..156].iter().map(|byte| char::from(*byte)).take_while(|c| *c != '\0').collect();
    u32::from_str_radix(text.trim(), 8).is_ok_and(|stated| stated == sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str, found: bool, directory: bool) -> PathLocated {
        PathLocated { found, directory, parent: !found, path: path.as_bytes().to_vec() }
    }

    #[test]
    fn ends_are_told_apart() {
        let path = |container: Option<&str>, path: &str| End::Path {
            container: container.map(str::to_owned),
            path: path.to_owned(),
        };
        assert_eq!(End::parse("c:/a:b"), path(Some("c"), "/a:b"));
        assert_eq!(End::parse("./a:b"), path(None, "./a:b"));
        assert_eq!(End::parse("/a:b"), path(None, "/a:b"));
        assert_eq!((End::parse("-"), End::parse("x")), (End::Stream, path(None, "x")));
        for (source, target, words) in [
            ("", "c:/x", "invalid arguments \"\", \"c:/x\": you must specify paths"),
            ("c:", "/x", "invalid arguments \"c:\", \"/x\": you must specify paths"),
            ("a", "b", "invalid arguments \"a\", \"b\": you must specify one container"),
            ("-", "-", "invalid arguments \"-\", \"-\": you must specify one container"),
        ] {
            assert_eq!(ends(source, target).expect_err(source).to_string(), words);
        }
    }

    #[test]
    fn the_table_of_podman_cp() {
        let name = |source: &PathLocated, content: bool, target: &PathLocated| {
            let (name, directory) = plan(source, content, target).expect("possible");
            format!("{}|{}", String::from_utf8_lossy(&name), String::from_utf8_lossy(&directory))
        };
        let (file, directory) = (at("/s/f", true, false), at("/s/d", true, true));
        let (to_file, to_directory, to_nothing) =
            (at("/t/f2", true, false), at("/t", true, true), at("/new", false, false));
        assert_eq!(name(&file, false, &to_file), "f2|/t");
        assert_eq!(name(&file, false, &to_directory), "f|/t");
        assert_eq!(name(&file, false, &to_nothing), "new|/");
        assert_eq!(name(&directory, false, &to_directory), "d|/t");
        assert_eq!(name(&directory, true, &to_directory), "|/t");
        assert_eq!(name(&directory, false, &to_nothing), "new|/");
        assert_eq!(name(&directory, true, &to_nothing), "new|/");
        assert_eq!(name(&at("/", true, true), false, &to_directory), "|/t");
        let refused = plan(&directory, false, &to_file).expect_err("a file");
        assert_eq!(refused.to_string(), "destination must be a directory when copying a directory");
    }

    #[test]
    fn archives_are_known_by_their_first_block() {
        assert!(!is_archive(b"hello") && !is_archive(&[b'x'; 512]) && !is_archive(b""));
        assert!(is_archive(&[0; 512]) && is_archive(&[0x1f, 0x8b, 8]));
        let mut block = [0u8; 512];
        block[..4].copy_from_slice(b"name");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block[155] = b' ';
        assert!(is_archive(&block));
    }
}
