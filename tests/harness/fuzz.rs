//! Fuzzing on stable Rust: a corpus, mutations of it, and a clock. Included by the tests of the crates whose decoders it
//! is for (they have no dependency on this one).
//!
//! A target takes bytes and answers what kind of input they were; inputs of a kind that was not seen before are mutated
//! further. It fails by a panic: the input is then written to `target/fuzz`, from where it goes into the corpus once the
//! fault is mended. `FUZZ_SECONDS` is the time for each target (1 unless given), `FUZZ_SEED` repeats a run.

use std::{
    collections::{HashSet, hash_map::DefaultHasher},
    env, fs,
    hash::{Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

/// Longest input that mutations make.
const LONGEST: usize = 96 << 10;
/// Inputs of new kinds that are kept.
const KEPT: usize = 4096;
/// Bytes that decoders have opinions on.
const INTERESTING: &[u8] = b"\0\x01\x7f\x80\xff\n\r \"\\{}[]:,=PFTZ0";

/// xorshift64* (Vigna 2016): fast, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `end`, which is above 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or(0)
    }
}

/// Runs `target` on the files in the crate's `tests/corpus/NAME`, then on mutations of them until the time is over.
///
/// # Panics
/// As the target does, naming the input.
pub fn run(name: &str, target: impl Fn(&[u8]) -> u64) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let seconds = env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |now| now.as_nanos());
    let seed = env::var("FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(now as u64 | 1);
    let mut inputs: Vec<Vec<u8>> = files(&corpus);
    assert!(!inputs.is_empty(), "fuzz {name}: there is no corpus in {}", corpus.display());
    let mut kinds = HashSet::new();
    let mut random = Random(seed);
    let attempt = |input: &[u8]| match catch_unwind(AssertUnwindSafe(|| target(input))) {
        Ok(kind) => kind,
        Err(panic) => {
            eprintln!("fuzz {name}: FUZZ_SEED={seed}, the input is in {}", keep(name, input));
            resume_unwind(panic)
        }
    };
    for input in &inputs {
        kinds.insert(attempt(input));
    }
    inputs.push(Vec::new());
    let (end, mut runs) = (Instant::now() + Duration::from_secs_f64(seconds), 0u64);
    while Instant::now() < end {
        let input = mutated(&inputs, &mut random);
        runs += 1;
        if kinds.insert(attempt(&input)) && inputs.len() < KEPT {
            inputs.push(input);
        }
    }
    println!("fuzz {name}: {runs} inputs, {} kinds, seed {seed}", kinds.len());
}

fn files(corpus: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(corpus).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a file of the corpus")).collect()
}

fn keep(name: &str, input: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz");
    let path = directory.join(format!("{name}-{:016x}", hasher.finish()));
    match fs::create_dir_all(&directory).and_then(|()| fs::write(&path, input)) {
        Ok(()) => path.display().to_string(),
        Err(error) => format!("no file ({error}): {input:?}"),
    }
}

fn mutated(inputs: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.below(4) {
        mutate(&mut input, inputs, random);
    }
    input.truncate(LONGEST);
    input
}

fn mutate(input: &mut Vec<u8>, inputs: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = at + random.below(input.len() - at + 1);
    match random.below(9) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = INTERESTING[random.below(INTERESTING.len())],
        2 => input.insert(at, random.next() as u8),
        3 => input.truncate(at),
        4 => drop(input.drain(at..end)),
        5 => {
            let copy = input[at..end].to_vec();
            input.splice(at..at, copy);
        }
        6 => {
            let byte = INTERESTING[random.below(INTERESTING.len())];
            let length = 1 << random.below(16);
            input.splice(at..at, std::iter::repeat_n(byte, length));
        }
        7 => {
            let other = &inputs[random.below(inputs.len())];
            let from = random.below(other.len() + 1);
            input.splice(at..end, other[from..].iter().copied());
        }
        // A number, as lengths and offsets are.
        _ => {
            let number = match random.below(3) {
                0 => random.next() >> random.below(64),
                1 => u64::MAX - random.next() % 4,
                _ => 1 << random.below(64),
            };
            input.splice(at..end.min(at + 8), number.to_le_bytes());
        }
    }
}
