package bus

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestParseURL(t *testing.T) {
	for text, want := range map[string]Kafka{
		"kafka://h:9092":                         {Brokers: []string{"h:9092"}},
		"kafka://a:1,b:2/?topic=x.y&replicas=3":  {Brokers: []string{"a:1", "b:2"}, Topic: "x.y", Replicas: 3},
		"kafka://[::1]:9092?compression=zstd":    {Brokers: []string{"[::1]:9092"}, Compression: "zstd"},
		"kafka://u:p%40s@h:1?sasl=scram-sha-512": {Brokers: []string{"h:1"}, User: "u", Password: "p@s", SASL: "scram-sha-512"},
		"kafka://h:1?source=v1&client=me":        {Brokers: []string{"h:1"}, Source: "v1", ClientID: "me"},
	} {
		if got, err := ParseURL(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"http://h:1":                    "does not begin with kafka://",
		"kafka://":                      "no host:port",
		"kafka://h":                     "no host:port",
		"kafka://h:0":                   "no host:port",
		"kafka://h:1,":                  "no host:port",
		"kafka://h:1/topic":             "the topic is a parameter",
		"kafka://h:1?topic=a/b":         "is no name",
		"kafka://h:1?topics=a":          "not known; there are topic",
		"kafka://h:1?topic=a&topic=b":   "given twice",
		"kafka://h:1?replicas=0":        "number from 1",
		"kafka://h:1?sasl=plain":        "needs user:password@",
		"kafka://u:p@h:1":               "how it proves itself",
		"kafka://u@h:1":                 "user:password",
		"kafka://u:p@h:1?sasl=gssapi":   "there are plain, scram-sha-256, scram-sha-512",
		"kafka://u:s%zzecret@h:1":       "write it as %25",
		"kafka://h:1?tls=yes":           "neither true nor false",
		"kafka://h:1?tls=false&ca=x":    "need tls=true",
		"kafka://h:1?tls=true&cert=x":   "come together",
		"kafka://h:1?ca=/no/such/file":  "no such file",
		"kafka://h:1?compression=rar":   "there are none, gzip",
		"kafka://h:1?client=a%20b":      "client",
		"kafka://u:secret@h:x?sasl=zzz": "no host:port",
	} {
		_, err := ParseURL(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v; want something of %q", text, err, want)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("kafka://u:p%40s@h:1,[::1]:2/?sasl=plain&tls=true&topic=a")
	f.Add("kafka://:@:?&=")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseURL(text)
		if err != nil {
			return
		}
		if len(k.Brokers) == 0 || k.check() != nil {
			t.Errorf("%q was accepted as %+v", text, k)
		}
		if k.Password = "hunter2hunter2"; strings.Contains(k.String(), k.Password) {
			t.Errorf("%q shows its password", text)
		}
	})
}

func TestEnsure(t *testing.T) {
	k := broker(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if limit, err := k.Ensure(3); err != nil || limit < 1<<20 {
				t.Errorf("limit %d, %v", limit, err)
			}
		})
	}
	all.Wait()
	var refused *PartitionsError
	if _, err := k.Ensure(4); !errors.As(err, &refused) || refused.Partitions != 3 || refused.Shards != 4 {
		t.Errorf("another number of partitions: %v", err)
	}
	if _, err := (Kafka{Brokers: k.Brokers, Topic: "a b"}).Ensure(1); err == nil {
		t.Error("a bad name was accepted")
	}
}

func TestEnsureWithoutTheRight(t *testing.T) {
	c, k := cluster(t, kfake.SeedTopics(2, defaultTopic))
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	topic(t, k, 2) // somebody made it
	k.Topic = "another"
	if _, err := k.Ensure(2); err == nil || !strings.Contains(err.Error(), "create topic another") {
		t.Errorf("without the right to make topics: %v", err)
	}
}

func TestEnsureUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	k, err := ParseURL("kafka://me:secret@" + address + "?sasl=plain")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Ensure(1); err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), address) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestSASLAndTLS(t *testing.T) {
	certificate, ca := selfSigned(t)
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}}),
		kfake.Superuser("PLAIN", "plain", "p:@/s"), kfake.Superuser("SCRAM-SHA-256", "s256", "secret"), kfake.Superuser("SCRAM-SHA-512", "s512", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	address := c.ListenAddrs()[0]
	for _, good := range []string{"plain:p%3A%40%2Fs@%s?sasl=plain", "s256:secret@%s?sasl=scram-sha-256", "s512:secret@%s?sasl=scram-sha-512"} {
		k, err := ParseURL("kafka://" + strings.Replace(good, "%s", address, 1) + "&tls=true&ca=" + url.QueryEscape(ca))
		if err != nil {
			t.Fatal(err)
		}
		topic(t, k, 1)
		s := store(t, 1)
		put(t, s, 0, "a", 1)
		p := publisher(t, k)
		if n, err := p.Send(t.Context(), feed(t, s, 0)); n != 1 || err != nil {
			t.Errorf("%s: %d, %v", good, n, err)
		}
		k.Password = "wrong"
		if _, err := k.Ensure(1); err == nil {
			t.Errorf("%s: a wrong password was accepted", good)
		}
		k.TLS = nil
		if _, err := k.Ensure(1); err == nil {
			t.Errorf("%s: plain text was accepted", good)
		}
	}
}

// selfSigned makes a certificate for 127.0.0.1 and a file that holds it.
func selfSigned(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}
