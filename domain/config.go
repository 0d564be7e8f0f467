package domain

// Config is the fold of a namespace's configuration stream: everything that a
// manifest holds. Values are shared between readers; Apply never changes its
// receiver. Data records carry the version of Config that they were checked
// against, and are void if their bucket or collection was deleted after it.
type Config struct {
	NamespaceSettings
	Version     uint64
	Position    uint64
	Created     Stamp
	Updated     Stamp
	Buckets     map[string]Bucket     // by id
	Collections map[string]Collection // by id
	Retrievers  map[string]Retriever  // by id
	Topics      map[string]Topic      // by id
	Deleted     map[string]uint64     // id of a deleted bucket, collection or retriever → version of its deletion
	Closed      bool
}

// Apply gives the configuration after one more event. Events of types that it
// does not know change nothing but the version.
func (c Config) Apply(e EventData, at Stamp) Config {
	c.Version, c.Position, c.Updated = at.Version, at.Position, at
	switch e := e.(type) {
	case *NamespaceConfigured:
		if c.Created.Version == 0 {
			c.Created = at
		}
		c.NamespaceSettings = e.NamespaceSettings
	case *NamespaceClosed:
		c.Closed = true
	case *BucketSaved:
		b := e.Bucket
		b.Created, b.Updated = firstStamp(c.Buckets[b.BucketID].Created, at), at
		c.Buckets = with(c.Buckets, b.BucketID, b)
	case *BucketDeleted:
		c.Buckets, c.Deleted = without(c.Buckets, e.BucketID), with(c.Deleted, e.BucketID, at.Version)
		c.Topics = c.withoutTopicsOf(e.BucketID)
	case *CollectionSaved:
		k := e.Collection
		k.Created, k.Updated = firstStamp(c.Collections[k.CollectionID].Created, at), at
		c.Collections = with(c.Collections, k.CollectionID, k)
	case *CollectionDeleted:
		c.Collections, c.Deleted = without(c.Collections, e.CollectionID), with(c.Deleted, e.CollectionID, at.Version)
	case *RetrieverSaved:
		r := e.Retriever
		before := c.Retrievers[r.RetrieverID]
		r.Created, r.Updated, r.Version = firstStamp(before.Created, at), at, before.Version+1
		c.Retrievers = with(c.Retrievers, r.RetrieverID, r)
	case *RetrieverDeleted:
		c.Retrievers, c.Deleted = without(c.Retrievers, e.RetrieverID), with(c.Deleted, e.RetrieverID, at.Version)
	case *TopicSaved:
		t := e.Topic
		t.Created, t.Updated = firstStamp(c.Topics[t.TopicID].Created, at), at
		c.Topics = with(c.Topics, t.TopicID, t)
	case *TopicDeleted:
		c.Topics = without(c.Topics, e.TopicID)
	}
	return c
}

func firstStamp(before, at Stamp) Stamp {
	if before.Version != 0 {
		return before
	}
	return at
}

// Holds says whether a data record that was checked against a version of this
// configuration still has its bucket or collection.
func (c Config) Holds(id string, checkedAt uint64) bool { return c.Deleted[id] <= checkedAt }

// Bucket finds a bucket by id or name.
func (c Config) Bucket(identifier string) (Bucket, bool) {
	return find(c.Buckets, identifier, func(b Bucket) string { return b.Name })
}

// Collection finds a collection by id or name.
func (c Config) Collection(identifier string) (Collection, bool) {
	return find(c.Collections, identifier, func(k Collection) string { return k.Name })
}

// Retriever finds a retriever by id or name.
func (c Config) Retriever(identifier string) (Retriever, bool) {
	return find(c.Retrievers, identifier, func(r Retriever) string { return r.Name })
}

func find[V any](m map[string]V, identifier string, name func(V) string) (V, bool) {
	if v, ok := m[identifier]; ok {
		return v, true
	}
	for _, v := range m {
		if name(v) == identifier {
			return v, true
		}
	}
	var none V
	return none, false
}
