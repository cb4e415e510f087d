#!/bin/sh
# Writes the secrets that compose.yaml hands to the containers into deploy/secrets; what is there stays.
# The folder is for its owner only; the files can be read by the containers' users, who never see the folder.
set -eu
folder=$(dirname "$0")/secrets
mkdir -p "$folder"
chmod 700 "$folder"

random() { od -An -v -N24 -tx1 /dev/urandom | tr -d ' \n'; }
write() {
    [ -s "$folder/$1" ] || printf '%s' "$2" > "$folder/$1"
    chmod 644 "$folder/$1"
}

write api_key "$(random)"
write postgres_password "$(random)"
write database_url "postgresql://datadistiller:$(cat "$folder/postgres_password")@postgres:5432/datadistiller"
# Known to everybody, as MinIO ships here: for development only. Change it before the first start.
write s3_secret_key minioadmin123
