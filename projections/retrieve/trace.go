package retrieve

// Trace is the body of an execution record: per stage which documents it handed
// on and which it dropped, and why. What an index never handed over is counted in
// the header (StageRecord.Unseen), with the score below which it lies.
type Trace struct {
	Stages []StageTrace `json:"stages"`
}

// StageTrace is one stage's part.
type StageTrace struct {
	Name    string      `json:"name"`
	Lists   []TraceList `json:"lists,omitempty"` // of a search, in the order of its searches
	Kept    []Scored    `json:"kept"`            // in rank order
	Dropped []Dropped   `json:"dropped,omitempty"`
}

// TraceList is what an index handed over for one search.
type TraceList struct {
	Name   string   `json:"name"`             // feature URI
	Scored int      `json:"scored"`           // documents that had a score
	Cutoff float32  `json:"cutoff,omitempty"` // score of the last, where more had one
	Hits   []Scored `json:"hits"`             // in rank order
}

// Scored is a document with its score; its rank is its place, from 1.
type Scored struct {
	ID    string  `json:"id"`
	Score float32 `json:"score"`
}

// Dropped is a document that a stage did not hand on.
type Dropped struct {
	ID     string  `json:"id"`
	Score  float32 `json:"score"`
	Reason string  `json:"reason"` // one of the Reason constants
	Detail string  `json:"detail,omitempty"`
}
