package state

import (
	"path/filepath"
	"reflect"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cloned-db/cloned/errs"
)

// FuzzRecords: whatever a bucket has in it, sealed or not, the file is opened with
// that as a record of its key, which is kept, or it is damaged.
func FuzzRecords(f *testing.F) {
	f.Add("c1", []byte(`{"id":"c1","name":"main","state":"ready","labels":{"a":"b"},"port":20000}`), true, uint8(2))
	f.Add("shop", []byte(`{"name":"shop","published":true}`), true, uint8(0))
	f.Add("s1", []byte(`{"id":"s2"}`), true, uint8(1))
	f.Add("\x00\x00\x00\x00\x00\x00\x00\x01", []byte(`{"revision":1}`), true, uint8(3))
	f.Add("c1", []byte("garbage"), false, uint8(2))
	buckets := []string{bucketGoldens, bucketSnapshots, bucketClones, bucketEvents, bucketMeta}
	path := filepath.Join(f.TempDir(), "state.db")
	s, err := Open(path, Options{})
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, key string, content []byte, sealed bool, bucket uint8) {
		if key == "" || len(key) > bbolt.MaxKeySize {
			return
		}
		if sealed {
			content = seal(content)
		}
		in := buckets[int(bucket)%len(buckets)]
		plant(t, path, in, key, content)
		defer plant(t, path, in, key, nil)
		s, err := Open(path, Options{})
		if err != nil {
			if (!errs.Is(err, errs.Corrupt) && !errs.Is(err, errs.Precondition)) || errs.As(err).Hint == "" {
				t.Errorf("%v", err)
			}
			return
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		if in == bucketClones {
			c, ok := s.View().Clone(key)
			if !ok || c.ID != key {
				t.Fatalf("%q holds %+v", key, c)
			}
			if again, ok := s.View().Clone(c.ID); !ok || !reflect.DeepEqual(again, c) {
				t.Errorf("%+v and %+v", c, again)
			}
		}
	})
}

// plant puts a value into the file behind the store's back; nil removes it.
func plant(t *testing.T, path, bucket, key string, value []byte) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		switch {
		case value != nil:
			return b.Put([]byte(key), value)
		case bucket == bucketMeta && key == "version":
			return b.Put([]byte(key), []byte("1"))
		}
		return b.Delete([]byte(key))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
