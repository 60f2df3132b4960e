package api

// What comes bit by bit: events, lines of output, and the pieces of a streamed
// answer.

// Event is something that has happened to a slot.
type Event struct {
	Seq        uint64 `json:"seq"` // from 1, without gaps, since the supervisor began
	At         string `json:"at"`
	Target     string `json:"target"` // web/2
	Generation uint64 `json:"generation"`
	Kind       string `json:"kind"` // state | exit | suspect | hung | responsive | kill | beside | swap | rollout | gone
	Text       string `json:"text"` // for people; of a state it begins with the state
}

// Events answers GET /v1/events. With Accept: text/event-stream each event is a
// message instead: id is Seq, event is Kind, data is the Event.
type Events struct {
	Events []Event `json:"events"` // oldest first
	Next   uint64  `json:"next"`   // what to ask with as since= to go on
	Missed uint64  `json:"missed"` // events that were asked for and are no longer kept
}

// LogLine is a line that a worker printed, in GET …/logs with Accept:
// application/x-ndjson. One with Dropped says nothing but how many lines of the
// target the reader has lost by being slow; it has neither At, Stream nor Text.
type LogLine struct {
	At         string `json:"at,omitempty"`
	Target     string `json:"target,omitempty"` // web/2
	Generation uint64 `json:"generation,omitempty"`
	Stream     string `json:"stream,omitempty"` // stdout | stderr
	Text       string `json:"text,omitempty"`   // absent where the line is empty
	Dropped    uint64 `json:"dropped,omitempty"`
}

// Piece is a line of a command's answer with Accept: application/x-ndjson. Of
// each worker come any number of pieces, which have no Outcome, and one last
// line, which has.
type Piece struct {
	Worker string `json:"worker"`          // web/2#7
	Name   string `json:"name,omitempty"`  // progress, or the worker's own; absent: a piece of the answer
	Codec  string `json:"codec,omitempty"` // json | text | bytes (a base64 string)
	Data   Raw    `json:"data,omitempty"`  // of a piece

	Outcome string   `json:"outcome,omitempty"` // ok | error | lost | timeout | canceled | overloaded | unavailable
	Result  Raw      `json:"result,omitempty"`  // outcome ok; absent where it is empty
	Problem *Problem `json:"problem,omitempty"` // else
}

// Progress is the Data of a piece of that name.
type Progress struct {
	Done  int64  `json:"done"`
	Total int64  `json:"total,omitempty"` // 0: nobody knows
	Text  string `json:"text,omitempty"`
}

// Raw is a JSON value as it came.
type Raw []byte

// MarshalJSON is the value itself.
func (r Raw) MarshalJSON() ([]byte, error) {
	if r == nil {
		return []byte("null"), nil
	}
	return r, nil
}

// UnmarshalJSON keeps the value.
func (r *Raw) UnmarshalJSON(b []byte) error {
	*r = append((*r)[:0], b...)
	return nil
}
