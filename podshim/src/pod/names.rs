//! Names for pods and containers that nobody named: `adjective_surname`, such as `steady_noether`.
//!
//! Two may meet: whoever makes the name's symlink finds out and asks for another one.

use std::io;

/// A random name.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn random() -> io::Result<String> {
    Ok(format!("{}_{}", pick(&ADJECTIVES)?, pick(&SURNAMES)?))
}

/// One word, each as likely as the others (the remainder of 32 random bits favours none that anybody could notice).
fn pick<'a>(words: &[&'a str]) -> io::Result<&'a str> {
    let mut bytes = [0u8; 4];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let index = u32::from_le_bytes(bytes) as usize % words.len();
    Ok(words[index])
}

/// How somebody may be.
#[rustfmt::skip]
const ADJECTIVES: [&str; 95] = [
    "able", "amber", "ample", "apt", "artful", "astute", "balmy", "bold", "brave", "breezy", "bright", "brisk",
    "calm", "candid", "careful", "cheery", "civil", "clear", "clever", "cosy", "crisp", "curious", "dapper", "daring",
    "deft", "eager", "earnest", "easy", "elated", "fabled", "fair", "fearless", "fine", "fluent", "fond", "frank",
    "fresh", "gentle", "giddy", "glad", "golden", "graceful", "handy", "hardy", "honest", "hopeful", "humble",
    "jolly", "jovial", "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow", "merry", "mild", "mindful",
    "modest", "neat", "nimble", "noble", "patient", "placid", "plucky", "polite", "proud", "quick", "quiet", "ready",
    "serene", "sharp", "silver", "sincere", "sleek", "snug", "spry", "steady", "sturdy", "sunny", "supple", "swift",
    "tender", "thrifty", "tidy", "tranquil", "trusty", "upbeat", "valiant", "vivid", "warm", "wise", "witty",
    "zealous",
];

/// People who found something out.
#[rustfmt::skip]
const SURNAMES: [&str; 177] = [
    "abel", "agnesi", "airy", "almeida", "ampere", "anning", "apgar", "archimedes", "avogadro", "babbage", "banneker",
    "bardeen", "bernoulli", "bessel", "blackwell", "blodgett", "bohr", "boltzmann", "boole", "bose", "brahe",
    "burnell", "cajal", "cannon", "carson", "cauchy", "cavendish", "celsius", "chandrasekhar", "chatelet", "clarke",
    "cori", "coulomb", "cray", "curie", "dalton", "darwin", "davy", "descartes", "dirac", "doppler", "edgerton",
    "ehrlich", "einstein", "elion", "ellis", "engelbart", "eratosthenes", "escher", "euclid", "euler", "faraday",
    "fermat", "fermi", "feynman", "fibonacci", "fleming", "forsythe", "fourier", "franklin", "fresnel", "galileo",
    "galois", "galvani", "gauss", "germain", "gibbs", "goddard", "godel", "goeppert", "goldberg", "gosling", "haber",
    "hahn", "halley", "hamilton", "hardy", "harvey", "hawking", "heisenberg", "herschel", "hertz", "hilbert",
    "hodgkin", "hoover", "hopper", "hubble", "huygens", "hypatia", "jemison", "jenner", "johnson", "joliot", "joule",
    "kapitsa", "kelvin", "kepler", "khorana", "kilby", "kirchhoff", "koch", "kovalevskaya", "lagrange", "lalande",
    "lamarr", "laplace", "lavoisier", "leavitt", "leibniz", "linnaeus", "lister", "lovelace", "lumiere", "mach",
    "marconi", "maxwell", "mayer", "mcclintock", "meitner", "mendel", "mendeleev", "michelson", "milstein",
    "mirzakhani", "morse", "nash", "nernst", "newton", "nightingale", "nobel", "noether", "noyce", "ochoa", "ohm",
    "oppenheimer", "papin", "pascal", "pasteur", "pauli", "payne", "peano", "perlman", "planck", "poincare",
    "poisson", "ptolemy", "ramanujan", "ride", "riemann", "ritchie", "roentgen", "rubin", "rutherford", "sagan",
    "sanger", "shannon", "snell", "sommerville", "stokes", "tesla", "thales", "torricelli", "torvalds", "turing",
    "villani", "volta", "wallace", "watt", "weyl", "wiles", "wilson", "wozniak", "wright", "yalow", "yonath",
    "yukawa", "zeppelin",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_valid_and_seldom_meet() {
        let names: BTreeSet<String> = (0..200).map(|_| random().expect("random bytes")).collect();
        assert!(names.iter().all(|name| proto::name::is_valid(name) && name.contains('_')));
        assert!(names.len() > 180);
    }

    #[test]
    fn the_lists_are_long_and_have_no_word_twice() {
        let adjectives: BTreeSet<&str> = ADJECTIVES.into_iter().collect();
        let surnames: BTreeSet<&str> = SURNAMES.into_iter().collect();
        assert!(adjectives.len() >= 60 && adjectives.len() == ADJECTIVES.len());
        assert!(surnames.len() >= 120 && surnames.len() == SURNAMES.len());
    }
}
