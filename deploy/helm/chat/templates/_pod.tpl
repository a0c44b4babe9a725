{{/*
The pod of every part. All take (dict "root" $ "component" … "roles" … "values" …): `roles` is what CHAT_ROLES says, empty for
the migration; `values` is the part of the values that is this pod's own.
*/}}

{{/* Where the secrets of the database and Kafka are: as given, or as the operators name them. */}}
{{- define "chat.database.secret" -}}
{{- $database := .Values.database -}}
{{- if $database.cloudnativepg.create }}
name: {{ include "chat.postgres" . }}-app
key: uri
ca: {{ include "chat.postgres" . }}-ca
caKey: ca.crt
{{- else }}
name: {{ $database.existingSecret | quote }}
key: {{ $database.key | quote }}
ca: {{ $database.caSecret.name | quote }}
caKey: {{ $database.caSecret.key | quote }}
{{- end }}
{{- end -}}

{{- define "chat.kafka.access" -}}
{{- $kafka := .Values.kafka -}}
{{- if $kafka.strimzi.create }}
brokers: {{ include "chat.kafka" . }}-kafka-bootstrap:9093
protocol: sasl_ssl
mechanism: SCRAM-SHA-512
secret: {{ include "chat.kafka.user" . | quote }}
key: password
ca: {{ include "chat.kafka" . }}-cluster-ca-cert
caKey: ca.crt
{{- else }}
brokers: {{ join "," $kafka.brokers | quote }}
protocol: {{ $kafka.securityProtocol | quote }}
mechanism: {{ $kafka.saslMechanism | quote }}
secret: {{ $kafka.existingSecret | quote }}
key: {{ $kafka.passwordKey | quote }}
ca: {{ $kafka.caSecret.name | quote }}
caKey: {{ $kafka.caSecret.key | quote }}
{{- end }}
{{- end -}}

{{/* Settings, by name. A map: a name can't stand twice, which server-side apply refuses; what the values say replaces. */}}
{{- define "chat.env" -}}
{{- $values := .root.Values -}}
{{- $env := dict "CHAT_LOG_FORMAT" "json" -}}
{{- if .roles -}}
{{- $_ := set $env "CHAT_ROLES" .roles -}}
{{- $_ := set $env "CHAT_LISTEN" "0.0.0.0:8080" -}}
{{- $_ := set $env "CHAT_ADMIN_LISTEN" "0.0.0.0:9090" -}}
{{- $_ := set $env "CHAT_DRAIN_SECONDS" (printf "%d" (int .values.drainSeconds)) -}}
{{- with $values.trustedProxies -}}
{{- $_ := set $env "CHAT_TRUSTED_PROXIES" (join "," .) -}}
{{- end -}}
{{- end -}}
{{- if eq $values.mode "single" -}}
{{- $_ := set $env "CHAT_DATABASE_URL" "sqlite:/var/lib/chat/chat.db" -}}
{{- $_ := set $env "CHAT_SIGNING_KEY" "/var/lib/chat/chat-signing-key.pem" -}}
{{- else -}}
{{- $_ := set $env "CHAT_DATABASE_URL_FILE" "/etc/chat/database/url" -}}
{{- $database := include "chat.database.secret" .root | fromYaml -}}
{{- if $database.ca -}}
{{- /* The server's client reads what libpq reads, where the URL says nothing. */ -}}
{{- $_ := set $env "PGSSLMODE" "verify-full" -}}
{{- $_ := set $env "PGSSLROOTCERT" "/etc/chat/database-ca/ca.crt" -}}
{{- end -}}
{{- if .roles -}}
{{- $_ := set $env "CHAT_BUS" $values.bus -}}
{{- if eq $values.bus "kafka" -}}
{{- $kafka := include "chat.kafka.access" .root | fromYaml -}}
{{- $_ := set $env "CHAT_KAFKA_BROKERS" $kafka.brokers -}}
{{- $_ := set $env "CHAT_KAFKA_SECURITY_PROTOCOL" $kafka.protocol -}}
{{- if hasPrefix "sasl_" $kafka.protocol -}}
{{- $_ := set $env "CHAT_KAFKA_SASL_MECHANISM" $kafka.mechanism -}}
{{- $_ := set $env "CHAT_KAFKA_USERNAME" (include "chat.kafka.user" .root) -}}
{{- $_ := set $env "CHAT_KAFKA_PASSWORD_FILE" "/etc/chat/kafka/password" -}}
{{- end -}}
{{- if $kafka.ca -}}
{{- $_ := set $env "CHAT_KAFKA_CA" "/etc/chat/kafka-ca/ca.crt" -}}
{{- end -}}
{{- if $values.kafka.rackAware -}}
{{- $zone := dict "fieldPath" "metadata.labels['topology.kubernetes.io/zone']" -}}
{{- $_ := set $env "CHAT_KAFKA_CLIENT_RACK" (dict "valueFrom" (dict "fieldRef" $zone)) -}}
{{- end -}}
{{- end -}}
{{- if eq .component "auth" -}}
{{- $_ := set $env "CHAT_SIGNING_KEY" "/etc/chat/signing-key/signing-key.pem" -}}
{{- end -}}
{{- if $values.verifyKeys.existingConfigMap -}}
{{- $_ := set $env "CHAT_VERIFY_KEYS" "/etc/chat/verify-keys/jwks.json" -}}
{{- else if has .component (list "rest" "realtime") -}}
{{- $own := printf "http://%s:8080/.well-known/jwks.json" (include "chat.service" (dict "root" .root "role" "auth")) -}}
{{- $_ := set $env "CHAT_VERIFY_KEYS" (default $own $values.verifyKeys.url) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $said := list $values.env .values.env -}}
{{- range $name, $value := $said -}}
{{- $_ := set $env $name $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}

{{/* Files that are mounted: secrets are files, which can be replaced and don't show up in a process's environment. 288 is 0440. */}}
{{- define "chat.files" -}}
{{- $values := .root.Values -}}
- name: tmp
  path: /tmp
  writable: true
  volume:
    emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{- if eq $values.mode "single" }}
- name: data
  path: /var/lib/chat
  writable: true
{{- else }}
{{- $database := include "chat.database.secret" .root | fromYaml }}
- name: database
  path: /etc/chat/database
  volume:
    secret:
      secretName: {{ $database.name | quote }}
      defaultMode: 288
      items:
        - {key: {{ $database.key | quote }}, path: url}
{{- if $database.ca }}
- name: database-ca
  path: /etc/chat/database-ca
  volume:
    secret:
      secretName: {{ $database.ca | quote }}
      defaultMode: 288
      items:
        - {key: {{ $database.caKey | quote }}, path: ca.crt}
{{- end }}
{{- if and .roles (eq $values.bus "kafka") }}
{{- $kafka := include "chat.kafka.access" .root | fromYaml }}
{{- if hasPrefix "sasl_" $kafka.protocol }}
- name: kafka
  path: /etc/chat/kafka
  volume:
    secret:
      secretName: {{ $kafka.secret | quote }}
      defaultMode: 288
      items:
        - {key: {{ $kafka.key | quote }}, path: password}
{{- end }}
{{- if $kafka.ca }}
- name: kafka-ca
  path: /etc/chat/kafka-ca
  volume:
    secret:
      secretName: {{ $kafka.ca | quote }}
      defaultMode: 288
      items:
        - {key: {{ $kafka.caKey | quote }}, path: ca.crt}
{{- end }}
{{- end }}
{{- if eq .component "auth" }}
- name: signing-key
  path: /etc/chat/signing-key
  volume:
    secret:
      secretName: {{ $values.signingKey.existingSecret | quote }}
      defaultMode: 288
      items:
        - {key: {{ $values.signingKey.key | quote }}, path: signing-key.pem}
{{- end }}
{{- if and .roles $values.verifyKeys.existingConfigMap }}
- name: verify-keys
  path: /etc/chat/verify-keys
  volume:
    configMap:
      name: {{ $values.verifyKeys.existingConfigMap | quote }}
      items:
        - {key: {{ $values.verifyKeys.key | quote }}, path: jwks.json}
{{- end }}
{{- end }}
{{- end -}}

{{/* The pod's own metadata. */}}
{{- define "chat.pod.metadata" -}}
labels:
  {{- include "chat.selector" . | nindent 2 }}
  app.kubernetes.io/version: {{ include "chat.version" .root | quote }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What is in a pod of any part. */}}
{{- define "chat.pod.spec" -}}
{{- $values := .root.Values -}}
{{- $files := include "chat.files" . | fromYamlArray -}}
# The server asks the API for nothing.
automountServiceAccountToken: false
{{- with $values.serviceAccountName }}
serviceAccountName: {{ . | quote }}
{{- end }}
# A Service named chat would put CHAT_PORT and its like into the environment, which are no settings.
enableServiceLinks: false
{{- with $values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- if .roles }}
# preStop, then the drain, then what is flushed after it.
terminationGracePeriodSeconds: {{ add (int $values.preStopSeconds) (int .values.drainSeconds) 20 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and .roles (eq $values.mode "cluster") }}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . | quote }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "chat.selector" $ | nindent 8 }}
    # Old and new pods of a rollout are spread apart from each other.
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
containers:
  - name: chat
    image: {{ include "chat.image" .root | quote }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    args: [{{ ternary "serve" "migrate" (not (empty .roles)) }}]
    {{- if .roles }}
    ports:
      - name: http
        containerPort: 8080
      - name: admin
        containerPort: 9090
    {{- end }}
    env:
      {{- range $name, $value := include "chat.env" . | fromYaml }}
      - name: {{ $name }}
        {{- if kindIs "map" $value }}
        {{- toYaml $value | nindent 8 }}
        {{- else }}
        value: {{ $value | quote }}
        {{- end }}
      {{- end }}
    volumeMounts:
      {{- range $files }}
      - name: {{ .name }}
        mountPath: {{ .path }}
        {{- if not .writable }}
        readOnly: true
        {{- end }}
      {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
    {{- with .values.resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if .roles }}
    # Health never asks the database or the bus: their outage must not restart pods.
    startupProbe:
      httpGet: {path: /healthz, port: admin}
      periodSeconds: 2
      failureThreshold: 30
    livenessProbe:
      httpGet: {path: /healthz, port: admin}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 3
    readinessProbe:
      httpGet: {path: /readyz, port: admin}
      periodSeconds: 2
      timeoutSeconds: 2
      failureThreshold: 2
    lifecycle:
      # Until every proxy has heard that the pod is going, it is still sent requests.
      preStop:
        sleep:
          seconds: {{ $values.preStopSeconds }}
    {{- end }}
volumes:
  {{- range $files }}
  {{- if .volume }}
  - name: {{ .name }}
    {{- toYaml .volume | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end -}}
