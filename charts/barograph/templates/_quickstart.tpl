{{/* One server of the quickstart: (dict context component port data checksum), then its container. */}}
{{- define "barograph.quickstart.server" -}}
{{- $context := .context -}}
{{- $of := list $context .component -}}
{{- $name := include "barograph.name" $of -}}
{{- $values := index $context.Values.quickstart .component -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ $name | quote }}
  namespace: {{ $context.Release.Namespace | quote }}
  labels: {{- include "barograph.labels" $of | nindent 4 }}
  {{- include "barograph.annotations" $of | nindent 2 }}
spec:
  selector: {{- include "barograph.selector" $of | nindent 4 }}
  ports:
    - {name: {{ .portName | quote }}, port: {{ .port }}, targetPort: {{ .portName }}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ $name | quote }}
  namespace: {{ $context.Release.Namespace | quote }}
  labels: {{- include "barograph.labels" $of | nindent 4 }}
  {{- include "barograph.annotations" $of | nindent 2 }}
spec:
  serviceName: {{ $name | quote }}
  replicas: 1
  revisionHistoryLimit: 3
  selector:
    matchLabels: {{- include "barograph.selector" $of | nindent 6 }}
  template:
    metadata:
      labels: {{- include "barograph.selector" $of | nindent 8 }}
      annotations:
        checksum/configuration: {{ .checksum }}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 60
      securityContext: {{- include "barograph.podSecurity" $values.user | nindent 8 }}
      {{- with include "barograph.pullSecrets" $context }}{{ . | trim | nindent 6 }}{{ end }}
      {{- with include "barograph.placement" $context.Values.pods }}{{ . | trim | nindent 6 }}{{ end }}
      containers:
        - name: {{ .component | quote }}
          image: {{ $values.image | quote }}
          imagePullPolicy: {{ $context.Values.image.pullPolicy }}
          securityContext: {{- include "barograph.containerSecurity" $context | nindent 12 }}
          ports:
            - {name: {{ .portName | quote }}, containerPort: {{ .port }}}
          # All three answer on their port only when they are able to work.
          startupProbe: {tcpSocket: {port: {{ .portName }}}, periodSeconds: 2, failureThreshold: 300}
          livenessProbe: {tcpSocket: {port: {{ .portName }}}, periodSeconds: 10, failureThreshold: 6}
          readinessProbe: {tcpSocket: {port: {{ .portName }}}, periodSeconds: 5}
          resources: {{- toYaml $values.resources | nindent 12 }}
          {{- include (printf "barograph.quickstart.%s" .component) $context | nindent 10 }}
          volumeMounts:
            - {name: data, mountPath: {{ .data | quote }}}
            - {name: configuration, mountPath: /etc/barograph, readOnly: true}
            - {name: tmp, mountPath: /tmp}
      volumes:
        - name: configuration
          projected:
            sources:
              - secret: {name: {{ $name | quote }}}
              {{- if .files }}
              - configMap: {name: {{ $name | quote }}}
              {{- end }}
        - {name: tmp, emptyDir: {}}
        {{- if not $context.Values.quickstart.persistence }}
        - {name: data, emptyDir: {}}
        {{- end }}
  {{- if $context.Values.quickstart.persistence }}
  # Kept when the chart is uninstalled, as the passwords are.
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
  volumeClaimTemplates:
    - metadata:
        name: data
        labels: {{- include "barograph.selector" $of | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with $context.Values.quickstart.storageClass }}
        storageClassName: {{ . | quote }}
        {{- end }}
        resources: {requests: {storage: {{ $values.storage | quote }}}}
  {{- end }}
{{- end -}}

{{/* (dict context component files) -> a ConfigMap with the server's files */}}
{{- define "barograph.quickstart.files" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "barograph.name" (list .context .component) | quote }}
  namespace: {{ .context.Release.Namespace | quote }}
  labels: {{- include "barograph.labels" (list .context .component) | nindent 4 }}
  {{- include "barograph.annotations" (list .context .component) | nindent 2 }}
data:
  {{- range $file := .files }}
  {{ base $file }}: |
    {{- $.context.Files.Get $file | nindent 4 }}
  {{- end }}
{{- end -}}
