//! The tokens of a text, estimated from above without a tokenizer.
//!
//! Tokenizers merge what was frequent in their training: short words and common runs are one token, rare letters are up
//! to one token for each of their bytes. So a text is cut into runs of one class, each with a cost in twelfths of a
//! token. A word's cost grows faster than its length, because long words are rare and fall apart, and because languages
//! other than English have more of them.
//!
//! The costs were chosen to bound the counts of eight vocabularies (of Claude 2, GPT-3.5, GPT-4o, Llama 2 and 3, Gemini,
//! Qwen 3 and DeepSeek 3). On prose in 52 languages, code, JSON, logs and addresses the estimate is 0.98 to 1.62 times the
//! largest of the eight counts, 1.20 times in the median, and for English and code 1.7 to 1.9 times GPT-4o's count. Strings
//! of random base64, digits and bytes are bounded too; only words of random letters, Han and Hangul characters that no text
//! has, and white space alone are not.

use memchr::memchr;

use crate::json::Chars;

/// Parts of a token, in which costs are added.
const PARTS: i64 = 12;

/// Words of 1 to 9 lower-case letters, the first of which may be a capital.
const WORDS: [i64; 9] = [12, 13, 15, 18, 23, 29, 37, 46, 55];
/// Each letter after these.
const LETTER: i64 = 8;
/// The capital that begins a word.
const CAPITAL: i64 = 2;
/// A letter in a run of capitals.
const UPPER: i64 = 7;
/// A change of case or between letters and digits within a word, as in names of variables and in base64.
const CHANGE: i64 = 9;
/// Some vocabularies have no numbers above 9.
const DIGIT: i64 = 12;
const MARK: i64 = 10;
/// The mark before once more, as in a line.
const SAME_MARK: i64 = 6;
/// A space usually belongs to the word after it, and a run of them is few tokens.
const SPACE: i64 = 1;
/// What it costs more before a number, to which it does not belong.
const LONE_SPACE: i64 = 11;
const BREAK: i64 = 12;

/// The twelfths of a token that texts came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    parts: i64,
}

impl Cost {
    pub(crate) const fn of_tokens(tokens: i64) -> Self {
        Self { parts: tokens.saturating_mul(PARTS) }
    }

    /// That of a text as it stands between its quotes.
    pub(crate) fn of(quoted: &str) -> Self {
        let mut runs = Runs { parts: 0, last: Class::Space, before: '\0', length: 0 };
        let mut rest = quoted;
        while let Some(escape) = memchr(b'\\', rest.as_bytes()) {
            let (plain, escaped) = rest.split_at(escape);
            runs.push_str(plain);
            let mut chars = Chars::new(escaped);
            chars.next().into_iter().for_each(|char| runs.push(char));
            rest = chars.rest();
        }
        runs.push_str(rest);
        Self { parts: runs.parts }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { parts: self.parts.saturating_add(other.parts) }
    }

    pub(crate) fn times(self, count: i64) -> Self {
        Self { parts: self.parts.saturating_mul(count) }
    }

    pub(crate) fn tokens(self) -> i64 {
        self.parts / PARTS + i64::from(self.parts % PARTS > 0)
    }
}

/// What a character is to a tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Digit,
    Mark,
    Space,
    Break,
    /// No ASCII.
    Other,
}

/// The run that is being read.
struct Runs {
    parts: i64,
    last: Class,
    before: char,
    /// Characters of the run; for lower case, those of the word.
    length: usize,
}

impl Runs {
    fn push_str(&mut self, text: &str) {
        let mut rest = text;
        while let Some(char) = rest.chars().next() {
            self.push(char);
            rest = rest.get(char.len_utf8()..).unwrap_or_default();
            if char.is_ascii_lowercase() {
                let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
                self.parts = self.parts.saturating_add(word(self.length + letters) - word(self.length));
                self.length += letters;
                rest = rest.get(letters..).unwrap_or_default();
            }
        }
    }

    fn push(&mut self, char: char) {
        let class = Class::of(char);
        let is_same = class == self.last;
        let cost = match (class, self.last) {
            (Class::Lower, Class::Lower) => word(self.length + 1) - word(self.length),
            // The capital turns out to begin a word.
            (Class::Lower, Class::Upper) if self.length == 1 => CAPITAL - UPPER + WORDS[1],
            (Class::Lower, Class::Digit | Class::Upper) => CHANGE + word(1),
            (Class::Lower, _) => word(1),
            (Class::Upper, Class::Lower | Class::Digit) => CHANGE + UPPER,
            (Class::Upper, _) => UPPER,
            (Class::Digit, Class::Lower | Class::Upper) => CHANGE + DIGIT,
            (Class::Digit, Class::Space) => LONE_SPACE + DIGIT,
            (Class::Digit, _) => DIGIT,
            (Class::Mark, _) if char == self.before => SAME_MARK,
            (Class::Mark, _) => MARK,
            (Class::Space, _) => SPACE,
            (Class::Break, _) => BREAK,
            (Class::Other, _) => cost_of_other(char),
        };
        let continues = is_same || class == Class::Lower && self.last == Class::Upper && self.length == 1;
        self.length = if continues { self.length + 1 } else { 1 };
        self.parts = self.parts.saturating_add(cost);
        (self.last, self.before) = (class, char);
    }
}

/// What a word of so many letters costs.
fn word(letters: usize) -> i64 {
    let [.., longest] = WORDS;
    match letters.checked_sub(1).map(|more| (WORDS.get(more), more)) {
        None => 0,
        Some((Some(&cost), _)) => cost,
        Some((None, more)) => {
            let beyond = i64::try_from(more + 1 - WORDS.len()).unwrap_or(i64::MAX);
            beyond.saturating_mul(LETTER).saturating_add(longest)
        }
    }
}

impl Class {
    const OF_ASCII: [Self; 128] = {
        let mut classes = [Self::Mark; 128];
        let mut byte = 0_u8;
        while byte < 128 {
            classes[byte as usize] = match byte {
                b'a'..=b'z' => Self::Lower,
                b'A'..=b'Z' => Self::Upper,
                b'0'..=b'9' => Self::Digit,
                b' ' => Self::Space,
                0..=0x1f | 0x7f => Self::Break,
                _ => Self::Mark,
            };
            byte += 1;
        }
        classes
    };

    fn of(char: char) -> Self {
        Self::OF_ASCII.get(char as usize).copied().unwrap_or(Self::Other)
    }
}

/// A character outside ASCII costs what prose of its script does, or one token for each byte where that is rare.
fn cost_of_other(char: char) -> i64 {
    match char {
        // Latin with marks.
        '\u{80}'..='\u{24f}' => 20,
        // Greek.
        '\u{370}'..='\u{3ff}' => 17,
        // Cyrillic.
        '\u{400}'..='\u{52f}' => 11,
        // Hebrew and Arabic.
        '\u{590}'..='\u{6ff}' => 16,
        // Armenian among them: the spaces between words that are bytes are tokens too.
        '\u{250}'..='\u{7ff}' => 26,
        // Devanagari.
        '\u{900}'..='\u{97f}' => 17,
        // Thai.
        '\u{e00}'..='\u{e7f}' => 23,
        // Georgian.
        '\u{10a0}'..='\u{10ff}' => 26,
        // Kana, and the marks of East Asian texts.
        '\u{3000}'..='\u{30ff}' | '\u{ff00}'..='\u{ff9f}' => 13,
        // Han.
        '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' => 20,
        // Hangul.
        '\u{ac00}'..='\u{d7af}' => 19,
        '\u{800}'..='\u{ffff}' => 38,
        '\u{10000}'..='\u{10ffff}' => 48,
        '\0'..='\u{7f}' => MARK,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts, and the largest count that a vocabulary among the eight gives.
    const TEXTS: &[(i64, &str)] = &[
        (
            41,
            "Before a request is forwarded, the gateway estimates what it may cost at most, so that no user can spend more than was granted. The estimate is corrected as soon as the answer is known.",
        ),
        (
            67,
            "Bevor eine Anfrage weitergeleitet wird, schätzt das Gateway, was sie höchstens kosten kann, damit niemand mehr verbraucht, als ihm zusteht. Die Geschwindigkeitsbegrenzung gilt für alle Rechenzentren gemeinsam.",
        ),
        (
            51,
            "Avant de transmettre une requête, la passerelle estime ce qu'elle peut coûter au maximum, afin que personne ne dépense plus que ce qui lui a été accordé à l'étranger.",
        ),
        (
            73,
            "Ennen kuin pyyntö välitetään eteenpäin, yhdyskäytävä arvioi, paljonko se voi enintään maksaa, jottei kukaan kuluta enempää kuin hänelle on myönnetty.",
        ),
        (
            60,
            "Bir istek iletilmeden önce ağ geçidi en fazla ne kadara mal olabileceğini tahmin eder, böylece hiç kimse kendisine verilenden fazlasını harcayamaz.",
        ),
        (
            93,
            "Trước khi chuyển tiếp một yêu cầu, cổng sẽ ước tính chi phí tối đa của nó để không ai có thể chi tiêu nhiều hơn mức được cấp.",
        ),
        (
            67,
            "Прежде чем переслать запрос, шлюз оценивает, сколько он может стоить самое большее, чтобы никто не израсходовал больше, чем ему выделено.",
        ),
        (
            149,
            "Πριν προωθηθεί ένα αίτημα, η πύλη εκτιμά πόσο μπορεί να κοστίσει το πολύ, ώστε κανείς να μην ξοδέψει περισσότερα από όσα του δόθηκαν.",
        ),
        (91, "قبل إعادة توجيه الطلب، تقدّر البوابة أقصى ما يمكن أن يكلّفه حتى لا ينفق أحد أكثر مما مُنح له."),
        (
            104,
            "לפני שבקשה מועברת הלאה, השער מעריך כמה היא עשויה לעלות לכל היותר, כדי שאיש לא יבזבז יותר ממה שהוקצב לו.",
        ),
        (
            136,
            "अनुरोध को आगे भेजने से पहले गेटवे अनुमान लगाता है कि उसकी अधिकतम लागत कितनी हो सकती है, ताकि कोई भी दी गई सीमा से अधिक खर्च न कर सके।",
        ),
        (194, "ஒரு கோரிக்கையை அனுப்புவதற்கு முன், அதற்கு அதிகபட்சம் எவ்வளவு செலவாகும் என்று நுழைவாயில் மதிப்பிடுகிறது."),
        (182, "ก่อนส่งต่อคำขอ เกตเวย์จะประเมินว่าคำขอนั้นมีค่าใช้จ่ายสูงสุดเท่าใด เพื่อไม่ให้ใครใช้เกินกว่าที่ได้รับ"),
        (
            64,
            "在转发请求之前，网关会估算它最多可能花费多少，这样任何人都不会超出自己被授予的额度。答案一到，估算值就会被更正。",
        ),
        (
            65,
            "リクエストを転送する前に、ゲートウェイはその最大コストを見積もり、誰も割り当てられた量を超えて使えないようにします。",
        ),
        (
            81,
            "요청을 전달하기 전에 게이트웨이는 그 비용이 최대 얼마가 될 수 있는지 추정하여, 아무도 허용된 것보다 많이 쓰지 못하게 합니다.",
        ),
        (
            74,
            "pub fn remaining(self, max: Max) -> Option<i64> {\n    match max {\n        Max::Unlimited => None,\n        Max::AtMost(max) => Some(max.saturating_sub(self.total()).clamp(0, max.max(0))),\n    }\n}\n",
        ),
        (
            77,
            "{\"id\":\"req_8fK2xQ\",\"at\":\"2026-11-25T18:35:42.017Z\",\"amounts\":[12,3.75,-40],\"user\":{\"name\":\"ann\",\"roles\":[\"admin\",\"billing\"]},\"ok\":true}",
        ),
        (80, "3.14159265358979 2026-11-25 18:35:42 +49 30 1234567 0xdeadbeef 192.168.0.17:8080 1e-9"),
        (62, "sk-aZ3kQ9xYt7LmP0vRbN5cWs2HdJ8fGu4EiXoTqVyKnMzDhCjUlFwBgSrAe6I1Op"),
        (35, "Done 🎉🚀 👍🏽 thanks ❤️‍🔥 🇩🇪 👩‍💻!"),
        (29, "WARNING: THE STORE IS AWAY, NO REQUEST IS ADMITTED UNTIL IT RETURNS."),
        (54, "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β ⇒ ∑ᵢ xᵢ ≤ √n"),
    ];

    fn cost(text: &str) -> Cost {
        let quoted = serde_json::to_string(text).unwrap();
        Cost::of(&quoted[1..quoted.len() - 1])
    }

    fn tokens(text: &str) -> i64 {
        cost(text).tokens()
    }

    #[test]
    fn texts_are_never_under_the_largest_count_and_seldom_far_over() {
        for &(largest, text) in TEXTS {
            let estimate = tokens(text);
            assert!(estimate >= largest, "{estimate} of {largest}: {text}");
            assert!(estimate * 100 <= largest * 180, "{estimate} of {largest}: {text}");
        }
    }

    #[test]
    fn words_cost_more_than_their_length() {
        assert_eq!(tokens(""), 0);
        for (text, parts) in
            [("a", 12), ("is", 13), ("The", 15 + CAPITAL), ("abcdefghi", 55), ("abcdefghijk", 55 + 16)]
        {
            assert_eq!(cost(text).parts, parts, "{text}");
        }
        // A name of a variable, and the run of capitals that is no word.
        assert_eq!(cost("fooBar").parts, 15 + CHANGE + 15 + CAPITAL);
        assert_eq!(cost("IDs").parts, 2 * UPPER + CHANGE + 12);
        assert_eq!(cost("-----").parts, MARK + 4 * SAME_MARK);
    }

    #[test]
    fn escapes_cost_what_they_mean() {
        for (quoted, text) in
            [(r"caf\u00e9 \ud83d\ude42\nA\\", "café 🙂\nA\\"), (r"\u0061bc", "abc"), (r"\ud800", "\u{fffd}")]
        {
            assert_eq!(Cost::of(quoted), cost(text), "{quoted}");
        }
    }

    proptest! {
        #[test]
        fn more_text_never_costs_less(text in any::<String>(), more in any::<String>()) {
            let both = format!("{text}{more}");
            prop_assert!(tokens(&both) + 1 >= tokens(&text));
            // No tokenizer has more tokens than bytes; costs of scripts are averages, so there is some room.
            prop_assert!(tokens(&both) <= 2 * i64::try_from(both.len()).unwrap() + 1);
        }
    }
}
