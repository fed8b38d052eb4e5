# For those who build with Docker; CI and releases use `make image`, which needs none. Not run by CI.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -buildid=" -o /lastcall ./cmd/lastcall

FROM scratch
COPY --from=build /lastcall /lastcall
# The agent's DaemonSet asks for uid 0 with NET_ADMIN alone; everything else runs as nobody.
USER 65532:65532
ENTRYPOINT ["/lastcall"]
