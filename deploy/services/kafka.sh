# Sourced by kafka.service and docker.sh: how the broker of the tests is set up, below $folder.
# shellcheck shell=bash disable=SC2154

# certificate: one for this machine, signed by itself.
certificate() {
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=127.0.0.1 -addext 'subjectAltName=IP:127.0.0.1,DNS:localhost' \
    -keyout "$folder/tls.key" -out "$folder/ca.pem" 2>"$folder/openssl.log" || { cat "$folder/openssl.log" >&2; return 1; }
  cat "$folder/tls.key" "$folder/ca.pem" >"$folder/server.pem" # the key first, then the chain
}

# configure ADDRESS FOLDER DATA PORT...: writes the broker's settings, for four listeners at ADDRESS and the controller, with
# files of FOLDER and its messages in DATA as the broker sees them.
configure() {
  local at=$1 seen=$2 data=$3
  shift 3
  cat >"$folder/server.properties" <<EOC
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$5
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://$at:$1,SASL_PLAINTEXT://$at:$2,SSL://$at:$3,SASL_SSL://$at:$4,CONTROLLER://127.0.0.1:$5
advertised.listeners=PLAINTEXT://127.0.0.1:$1,SASL_PLAINTEXT://127.0.0.1:$2,SSL://127.0.0.1:$3,SASL_SSL://127.0.0.1:$4
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
$(for listener in sasl_plaintext sasl_ssl; do
    echo "listener.name.$listener.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_varve=\"varve-secret\";"
    for scram in 256 512; do
      echo "listener.name.$listener.scram-sha-$scram.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"
    done
  done)
ssl.keystore.type=PEM
ssl.keystore.location=$seen/server.pem
log.dirs=$data
auto.create.topics.enable=false
offsets.topic.num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=3
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.check.interval.ms=500
log.initial.task.delay.ms=500
file.delete.delay.ms=100
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
EOC
}

# storage: what its storage is formatted with, a new cluster and the users of SCRAM.
storage() {
  local scram
  echo "-t $(head -c 15 /dev/urandom | base64 | tr '+/' 'AB')AA" # 16 bytes as Kafka writes them
  for scram in 256 512; do echo "--add-scram SCRAM-SHA-$scram=[name=scram,password=scram-secret]"; done
}

# addresses PORT...: writes how the four listeners are reached.
addresses() {
  cat >"$folder/env" <<EOC
export VARVE_TEST_KAFKA=127.0.0.1:$1
export VARVE_TEST_KAFKA_PLAIN='kafka://varve:varve-secret@127.0.0.1:$2?sasl=plain'
export VARVE_TEST_KAFKA_SCRAM='kafka://scram:scram-secret@127.0.0.1:$2?sasl=scram-sha-512'
export VARVE_TEST_KAFKA_TLS='kafka://127.0.0.1:$3?tls=true&ca=$folder/ca.pem'
export VARVE_TEST_KAFKA_SCRAM_TLS='kafka://scram:scram-secret@127.0.0.1:$4?sasl=scram-sha-512&tls=true&ca=$folder/ca.pem'
EOC
}
