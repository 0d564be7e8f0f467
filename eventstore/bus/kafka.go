// Package bus carries committed records to Kafka and back. A relay publishes a
// store's feed, one partition a shard, one CloudEvents 1.0 message a record; a
// tail gives consumers their records from Kafka where the next message is
// exactly the next feed position, and from the store otherwise. The store is
// the truth: messages may be lost, repeated, reordered or unreadable, and no
// consumer notices. Only a topic that holds the messages of another history (a
// store restored from a backup) must be left behind: name a new one.
package bus

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

// Kafka says how a cluster is reached and which topic holds the feed. Zero
// values are the defaults; Brokers is required.
type Kafka struct {
	Brokers     []string // host:port
	Topic       string   // "": varve.events
	Source      string   // ce_source of what is published, "": varve; messages of another source are not taken
	User        string
	Password    string
	SASL        string      // "", plain, scram-sha-256 or scram-sha-512
	TLS         *tls.Config // nil: plain text
	Compression string      // "", none, gzip, snappy, lz4 or zstd
	Replicas    int16       // of a topic that is made here; 0: the cluster's default
	ClientID    string      // "": varve
	// Dial, where set, makes every connection: to the brokers named and to those that
	// they name. It refuses addresses that may not be reached.
	Dial func(network, address string) (net.Conn, error)
}

const (
	defaultTopic  = "varve.events"
	defaultSource = "varve"
	sourceHelp    = "kafka://[user:password@]host:port[,host:port]?topic=varve.events"
)

var (
	topicName    = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)
	clientName   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)
	mechanisms   = []string{"plain", "scram-sha-256", "scram-sha-512"}
	compressions = map[string]sarama.CompressionCodec{
		"": sarama.CompressionNone, "none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}
)

// ParseURL reads kafka://[user:password@]host:port[,host:port]?… with the
// parameters topic, source, sasl, tls (true or false), ca, cert and key (files
// in PEM), compression, replicas and client. Its errors never contain the password.
func ParseURL(text string) (Kafka, error) {
	rest, ok := strings.CutPrefix(text, "kafka://")
	if !ok {
		return Kafka{}, fmt.Errorf("parse Kafka address: it does not begin with kafka://; want %s", sourceHelp)
	}
	rest, query, _ := strings.Cut(rest, "?")
	k := Kafka{}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, password, hasPassword := strings.Cut(rest[:at], ":")
		var err, err2 error
		if k.User, err = url.PathUnescape(user); err == nil {
			k.Password, err2 = url.PathUnescape(password)
		}
		if err != nil || err2 != nil {
			return Kafka{}, errors.New("parse Kafka address: user or password hold a % that begins no escape: write it as %25")
		}
		if k.User == "" || !hasPassword {
			return Kafka{}, errors.New("parse Kafka address: before the @ must be user:password")
		}
		rest = rest[at+1:]
	}
	rest = strings.TrimSuffix(rest, "/")
	if strings.Contains(rest, "/") {
		return Kafka{}, fmt.Errorf("parse Kafka address: a path after the brokers means nothing here; the topic is a parameter: %s", sourceHelp)
	}
	for broker := range strings.SplitSeq(rest, ",") {
		if err := checkBroker(broker); err != nil {
			return Kafka{}, err
		}
		k.Brokers = append(k.Brokers, broker)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return Kafka{}, fmt.Errorf("parse Kafka address: parameters: %w", err)
	}
	if err := k.parameters(values); err != nil {
		return Kafka{}, err
	}
	return k, k.check()
}

func checkBroker(broker string) error {
	host, port, err := net.SplitHostPort(broker)
	n, portErr := strconv.Atoi(port)
	if err != nil || host == "" || portErr != nil || n < 1 || n > 65535 {
		return fmt.Errorf("parse Kafka address: broker %q is no host:port; want %s", broker, sourceHelp)
	}
	return nil
}

func (k *Kafka) parameters(values url.Values) error {
	var ca, cert, key string
	secure := ""
	texts := map[string]*string{"topic": &k.Topic, "source": &k.Source, "sasl": &k.SASL, "compression": &k.Compression,
		"client": &k.ClientID, "ca": &ca, "cert": &cert, "key": &key, "tls": &secure}
	for name, all := range values {
		switch field, known := texts[name]; {
		case len(all) > 1:
			return fmt.Errorf("parse Kafka address: parameter %s is given twice", name)
		case known:
			*field = all[0]
		case name == "replicas":
			n, err := strconv.ParseInt(all[0], 10, 16)
			if err != nil || n < 1 {
				return fmt.Errorf("parse Kafka address: replicas=%s is no number from 1 on", all[0])
			}
			k.Replicas = int16(n)
		default:
			return fmt.Errorf("parse Kafka address: parameter %q is not known; there are topic, source, sasl, tls, ca, cert, key, compression, replicas, client", name)
		}
	}
	files := ca != "" || cert != "" || key != ""
	switch {
	case secure != "" && secure != "true" && secure != "false":
		return fmt.Errorf("parse Kafka address: tls=%s is neither true nor false", secure)
	case secure == "false" && files:
		return errors.New("parse Kafka address: ca, cert and key need tls=true")
	case secure != "true" && !files:
		return nil
	}
	var err error
	k.TLS, err = readTLS(ca, cert, key)
	return err
}

// readTLS reads files in PEM; each may be "", but a certificate needs its key.
func readTLS(ca, cert, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("read Kafka's ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read Kafka's ca: %s holds no certificate in PEM", ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, errors.New("parse Kafka address: cert and key come together")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("read Kafka's cert and key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// check refuses what no cluster would take.
func (k *Kafka) check() error {
	_, compression := compressions[k.Compression]
	switch {
	case len(k.Brokers) == 0:
		return fmt.Errorf("kafka: no broker is named; want %s", sourceHelp)
	case !topicName.MatchString(k.TopicName()) || k.TopicName() == "." || k.TopicName() == "..":
		return fmt.Errorf("kafka: topic %q is no name: 1 to 249 letters, digits, dots, hyphens and underscores", k.Topic)
	case !clientName.MatchString(k.clientID()):
		return fmt.Errorf("kafka: client %q is no name: letters, digits, dots, hyphens and underscores", k.ClientID)
	case k.SASL != "" && !slices.Contains(mechanisms, k.SASL):
		return fmt.Errorf("kafka: sasl %q is not known; there are %s", k.SASL, strings.Join(mechanisms, ", "))
	case k.SASL != "" && k.User == "":
		return fmt.Errorf("kafka: sasl %s needs user:password@ before the brokers", k.SASL)
	case k.SASL == "" && k.User != "":
		return fmt.Errorf("kafka: a user is given, but not how it proves itself: add sasl=%s", strings.Join(mechanisms, " or sasl="))
	case !compression:
		return fmt.Errorf("kafka: compression %q is not known; there are none, gzip, snappy, lz4, zstd", k.Compression)
	}
	return nil
}

// String is the address without the password.
func (k Kafka) String() string {
	user := ""
	if k.User != "" {
		user = url.PathEscape(k.User) + ":***@"
	}
	return "kafka://" + user + strings.Join(k.Brokers, ",") + "?topic=" + k.TopicName()
}

// Executions is the same cluster with the topic of the execution records beside
// that of the events: varve.executions beside varve.events.
func (k Kafka) Executions() Kafka {
	k.Topic = strings.TrimSuffix(k.TopicName(), ".events") + ".executions"
	return k
}

// TopicName is the topic, varve.events where none is named.
func (k Kafka) TopicName() string { return cmp.Or(k.Topic, defaultTopic) }

func (k *Kafka) source() string   { return cmp.Or(k.Source, defaultSource) }
func (k *Kafka) clientID() string { return cmp.Or(k.ClientID, "varve") }

// config is what all clients have in common. Time-outs are short enough for a
// shutdown to be waited for while the cluster cannot be reached.
func (k *Kafka) config() (*sarama.Config, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	c := sarama.NewConfig()
	c.ClientID = k.clientID()
	c.Version = sarama.V2_8_0_0 // the oldest that we ask for; newer clusters speak it
	c.Net.DialTimeout, c.Net.ReadTimeout, c.Net.WriteTimeout = 5*time.Second, 15*time.Second, 15*time.Second
	c.Metadata.Retry.Max, c.Metadata.Retry.Backoff = 2, 100*time.Millisecond
	c.Metadata.AllowAutoTopicCreation = false
	c.Admin.Timeout = 10 * time.Second
	c.ApiVersionsRequest = true
	if k.Dial != nil {
		c.Net.Proxy.Enable, c.Net.Proxy.Dialer = true, dialer(k.Dial)
	}
	if k.TLS != nil {
		c.Net.TLS.Enable, c.Net.TLS.Config = true, k.TLS
	}
	if k.SASL != "" {
		c.Net.SASL.Enable, c.Net.SASL.User, c.Net.SASL.Password = true, k.User, k.Password
		switch k.SASL {
		case "plain":
			c.Net.SASL.Mechanism = sarama.SASLTypePlaintext
		case "scram-sha-256":
			c.Net.SASL.Mechanism, c.Net.SASL.SCRAMClientGeneratorFunc = sarama.SASLTypeSCRAMSHA256, scramSHA256
		case "scram-sha-512":
			c.Net.SASL.Mechanism, c.Net.SASL.SCRAMClientGeneratorFunc = sarama.SASLTypeSCRAMSHA512, scramSHA512
		}
	}
	return c, nil
}

// dialer is how sarama takes a Dial.
type dialer func(network, address string) (net.Conn, error)

// Dial connects.
func (d dialer) Dial(network, address string) (net.Conn, error) { return d(network, address) }
