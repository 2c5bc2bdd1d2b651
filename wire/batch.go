package wire

// CatalogueHash is the first eight bytes of the SHA-256 of a catalogue's
// canonical bytes. The zero value means that a batch has no columns.
type CatalogueHash [8]byte

// Codec says how a batch's payload is stored.
type Codec uint8

// Payload codecs.
const (
	CodecNone Codec = 0
	CodecZstd Codec = 1
)

// Limits on sealed batches, in bytes, by lane. A batch with control records may
// be as large as MaxControlBytes whatever its lane.
const (
	MaxCriticalBytes = 200
	MaxLiveBytes     = 4 << 10
	MaxFullBytes     = 16 << 10
	MaxControlBytes  = 16 << 10
)

// MaxBatchCells bounds rows times columns, summed over all blocks of one batch:
// constant columns cost almost no bytes, so bytes alone bound nothing.
const MaxBatchCells = 1 << 20

// Header is the decoded envelope of a sealed batch.
type Header struct {
	Stream     Stream
	Seq        uint64
	Catalogue  CatalogueHash
	FirstNS    int64  // event time of the earliest sample, ns since boot
	LastNS     int64  // event time of the latest sample, ns since boot; >= FirstNS
	Samples    uint32 // values in all columns, plus events
	Control    bool   // the payload holds an EpochOpen, Loss, Base or Anchor section
	Codec      Codec
	HeaderLen  int    // bytes of the envelope, its CRC included
	PayloadLen uint32 // bytes of the payload as stored
	RawLen     uint32 // bytes of the payload before compression
	PayloadCRC uint32 // CRC32C of the payload as stored
}

// ID returns the identity of the batch.
func (h Header) ID() ID { return ID{Stream: h.Stream, Seq: h.Seq} }

// Size returns the length of the whole sealed batch in bytes.
func (h Header) Size() int { return h.HeaderLen + int(h.PayloadLen) }

// Body is a batch that has no number yet: what the agent hands to the spool.
// Payload is a run of sections as the Append…Section functions write them,
// uncompressed. Who is given a Body must not keep Payload.
type Body struct {
	Lane      Lane
	Catalogue CatalogueHash
	FirstNS   int64
	LastNS    int64
	Samples   uint32
	Control   bool
	Payload   []byte
}

// Batch is a parsed sealed batch. Raw and Payload alias the bytes given to
// [Parse]: they are valid as long as those are.
type Batch struct {
	Header  Header
	Payload []byte // as stored, maybe compressed
	Raw     []byte // the whole sealed batch
}

// Item describes one batch that waits in a spool to be sent.
type Item struct {
	ID        ID
	Size      int   // sealed bytes
	FirstNS   int64 // event time range, ns since boot
	LastNS    int64
	SealedNS  int64 // when it was sealed, ns since boot
	Control   bool
	Catalogue CatalogueHash // zero when the batch has no columns
}
