//! What the parts of a request are to the model, told by their keys; one tree for all dialects.
//!
//! A key that is not known is taken for something that the model reads.

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The body itself.
    Document,
    /// Nothing that the model reads.
    Settings,
    /// Settings with a schema among them.
    Generation,
    /// Texts and messages that are read, in a structure whose keys are not.
    Content,
    /// Messages or texts, each with marks around it.
    Messages,
    /// Prompts, each of which is answered.
    Prompts,
    /// What kind of part of a message it is.
    PartKind,
    /// What each of the documents is ranked for, and so read with each.
    Query,
    /// Texts that are ranked or quoted; one that is an object is read as JSON.
    Documents,
    /// JSON that is read as it stands.
    Json,
    /// The shape that the answer must have.
    Shape,
    /// Tools, each described.
    Tools,
    /// One of them.
    Tool,
    /// What kind of tool it is.
    ToolKind,
    /// A tool of the provider's own.
    OwnTool,
    /// Settings with tools among them.
    ToolSettings,
    Image,
    Sound,
    /// Any medium.
    Media,
    /// Thoughts that only their provider can read.
    Sealed,
    /// The name of something that the provider keeps or finds.
    Elsewhere,
}

/// Bytes of a key without underscores that are compared; longer keys are not known.
const KEY_BYTES_MAX: usize = 32;

impl Place {
    /// What the elements of an array that is this are.
    pub(crate) fn element(self) -> Self {
        match self {
            Self::Messages | Self::Prompts => Self::Content,
            Self::Documents => Self::Json,
            Self::Tools => Self::Tool,
            place => place,
        }
    }

    /// What the value of `key` in an object that is this is.
    pub(crate) fn child(self, key: &str) -> Self {
        let mut plain = [0; KEY_BYTES_MAX];
        let key = spelled(key, &mut plain);
        match self {
            Self::Document => document(key),
            Self::Generation if matches!(key, "responseschema" | "responsejsonschema") => Self::Shape,
            Self::Settings | Self::Generation => Self::Settings,
            Self::Content | Self::Messages | Self::Prompts | Self::PartKind | Self::Query => content(key),
            Self::Json | Self::Shape | Self::Documents | Self::ToolKind | Self::OwnTool => Self::Json,
            Self::Tools | Self::Tool => tool(key),
            Self::ToolSettings if key == "tools" => Self::Tools,
            Self::ToolSettings => Self::Settings,
            Self::Image | Self::Sound | Self::Media => media(self, key),
            Self::Sealed => Self::Sealed,
            Self::Elsewhere => Self::Elsewhere,
        }
    }
}

/// `key` without case and underscores, or nothing if it is long.
fn spelled<'a>(key: &str, plain: &'a mut [u8; KEY_BYTES_MAX]) -> &'a str {
    let mut length = 0;
    for byte in key.bytes().filter(|&byte| byte != b'_') {
        let Some(slot) = plain.get_mut(length) else { return "" };
        *slot = byte.to_ascii_lowercase();
        length += 1;
    }
    std::str::from_utf8(&plain[..length]).unwrap_or_default()
}

fn document(key: &str) -> Place {
    match key {
        "messages" | "contents" | "chathistory" | "input" | "requests" | "texts" | "inputs" | "instances" => {
            Place::Messages
        }
        "prompt" => Place::Prompts,
        "query" => Place::Query,
        "documents" => Place::Documents,
        "system" | "systeminstruction" | "instructions" | "preamble" | "message" | "content"
        | "inputtext" | "suffix" | "context" | "template" | "prediction" => Place::Content,
        "tools" | "functions" => Place::Tools,
        "toolconfig" => Place::ToolSettings,
        "responseformat" | "format" | "text" | "outputconfig" | "outputformat" | "guidedjson" => Place::Shape,
        "generationconfig" => Place::Generation,
        "image" | "images" | "inputimage" => Place::Image,
        "previousresponseid"
        | "previousinteractionid"
        | "conversation"
        | "conversationid"
        | "cachedcontent"
        | "container"
        | "mcpservers"
        | "plugins"
        | "websearchoptions"
        | "searchparameters"
        | "connectors"
        | "datasources"
        | "agent" => Place::Elsewhere,
        "model"
        | "stream"
        | "streamoptions"
        | "options"
        | "inferenceconfig"
        | "textgenerationconfig"
        | "metadata"
        | "user"
        | "safetyidentifier"
        | "store"
        | "servicetier"
        | "toolchoice"
        | "thinking"
        | "reasoning"
        | "reasoningeffort"
        | "include"
        | "modalities"
        | "audio"
        | "logitbias"
        | "encodingformat"
        | "embeddingtypes"
        | "inputtype"
        | "truncate"
        | "truncation"
        | "keepalive"
        | "promptcachekey"
        | "promptcacheretention"
        | "safetysettings"
        | "labels"
        | "anthropicversion"
        | "anthropicbeta"
        | "provider"
        | "raw"
        | "stop"
        | "stopsequences"
        | "maxtokens"
        | "maxcompletiontokens"
        | "maxoutputtokens"
        | "temperature"
        | "topp"
        | "topk"
        | "n"
        | "seed"
        | "frequencypenalty"
        | "presencepenalty"
        | "paralleltoolcalls"
        | "verbosity"
        | "background"
        | "tasktype"
        | "dimensions"
        | "outputdimensionality"
        | "normalize" => Place::Settings,
        _ => Place::Json,
    }
}

fn content(key: &str) -> Place {
    match key {
        "type" => Place::PartKind,
        "role"
        | "cachecontrol"
        | "cachepoint"
        | "detail"
        | "mediatype"
        | "mimetype"
        | "status"
        | "index"
        | "resolution"
        | "annotations"
        | "logprobs"
        | "model"
        | "tasktype"
        | "outputdimensionality" => Place::Settings,
        "content" | "parts" | "text" | "thinking" | "reasoningtext" | "reasoning" | "reasoningcontent"
        | "reasoningdetails" | "refusal" | "summary" | "output" | "toolcalls" | "function"
        | "functioncall" | "functionresponse" | "tooluse" | "toolresult" | "message" | "guardcontent"
        | "name" | "id" | "toolcallid" | "tooluseid" | "callid" | "variables" => Place::Content,
        "arguments" | "args" | "input" | "response" | "json" => Place::Json,
        "signature" | "thoughtsignature" | "encryptedcontent" | "redactedcontent" => Place::Sealed,
        "image" | "images" | "imageurl" | "inputimage" => Place::Image,
        "audio" | "inputaudio" | "video" | "videourl" | "audiourl" => Place::Sound,
        "source" | "inlinedata" | "filedata" | "file" | "document" | "data" | "url" | "uri" | "fileurl"
        | "bytesbase64encoded" => Place::Media,
        "fileid" | "imageid" => Place::Elsewhere,
        _ => Place::Json,
    }
}

fn tool(key: &str) -> Place {
    match key {
        "functiondeclarations" => Place::Tools,
        "type" => Place::ToolKind,
        "cachecontrol" | "cachepoint" | "strict" => Place::Settings,
        // Tools of the provider's own.
        "googlesearch"
        | "googlesearchretrieval"
        | "codeexecution"
        | "urlcontext"
        | "googlemaps"
        | "filesearch"
        | "retrieval"
        | "enterprisewebsearch"
        | "computeruse"
        | "systemtool" => Place::OwnTool,
        _ => Place::Json,
    }
}

fn media(place: Place, key: &str) -> Place {
    match key {
        "type" | "format" | "mediatype" | "mimetype" | "detail" | "cachecontrol" | "displayname" => {
            Place::Settings
        }
        "filename" | "name" | "title" | "context" | "content" | "text" => Place::Content,
        "fileid" | "id" | "s3location" | "fileuri" => Place::Elsewhere,
        _ => place,
    }
}
