#!/bin/sh
# Starts the broker with a password file made from the environment, so that no secret lies in a file of the repository.
# MOSQUITTO_RUNTIME is a folder in memory that only the broker's account can read.
set -eu
umask 077
here=$(dirname "$0")
runtime=${MOSQUITTO_RUNTIME:-/run/mosquitto}
: "${EMSD_MQTT_PASSWORD:?is not set}" "${EMSD_MQTT_GATEWAY_PASSWORD:?is not set}"
cp "$here/acl" "$runtime/acl"
printf 'emsd:%s\ngateway:%s\n' "$EMSD_MQTT_PASSWORD" "$EMSD_MQTT_GATEWAY_PASSWORD" > "$runtime/passwords"
mosquitto_passwd -U "$runtime/passwords" # replaces them by their hashes
unset EMSD_MQTT_PASSWORD EMSD_MQTT_GATEWAY_PASSWORD
exec mosquitto -c "${MOSQUITTO_CONF:-$here/mosquitto.conf}"
