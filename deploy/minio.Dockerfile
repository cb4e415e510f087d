# MinIO for development. It is published as source only: this builds the version that the tests run on.
FROM golang:1.24-bookworm AS build
ARG MINIO=v0.0.0-20260212201848-7aac2a2c5b7c
RUN CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" github.com/minio/minio@${MINIO}

FROM busybox:1.37
COPY --from=build /go/bin/minio /usr/bin/minio
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
RUN mkdir /data && chown 10001:10001 /data
# It keeps its certificates below HOME.
ENV HOME=/tmp MINIO_UPDATE=off
USER 10001:10001
VOLUME /data
EXPOSE 9000 9001
ENTRYPOINT ["/bin/sh", "-c"]
# A folder in the data folder is a bucket: it is there before anybody asks.
CMD ["mkdir -p /data/datadistiller-docs && exec minio server /data --address :9000 --console-address :9001"]
