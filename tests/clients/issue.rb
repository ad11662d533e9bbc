# ruby acme-client goes through the life of an account: order, proof, revocation, changes.
#
#     ruby issue.rb DIRECTORY_URL ROOT_PEM http-01|dns-01 FOLDER OUTPUT_FOLDER NAME...
#
# FOLDER is where responses to http-01 are files, or where a TXT record is a file NAME/VALUE.
require "acme-client"
require "fileutils"

url, root, kind, folder, output, *names = ARGV
new_key = -> { OpenSSL::PKey::EC.generate("prime256v1") }
client = Acme::Client.new(private_key: new_key.call, directory: url,
                          connection_options: { ssl: { ca_file: root } })
client.new_account(contact: "mailto:admin@corp.example", terms_of_service_agreed: true)
client.account_key_change(new_private_key: new_key.call) if ENV["CHANGE_KEY"]
order = client.new_order(identifiers: names)
challenges = order.authorizations.map do |authorization|
  if kind == "http-01"
    challenge = authorization.http
    File.write(File.join(folder, challenge.token), challenge.file_content)
  else
    challenge = authorization.dns
    name = "#{challenge.record_name}.#{authorization.domain.delete_prefix('*.')}"
    FileUtils.mkdir_p(File.join(folder, name))
    File.write(File.join(folder, name, challenge.record_content), "")
  end
  challenge
end
challenges.each do |challenge|
  challenge.request_validation
  while %w[pending processing].include?(challenge.status)
    sleep 0.2
    challenge.reload
  end
  raise "#{challenge.status}: #{challenge.error}" unless challenge.status == "valid"
end
key = new_key.call
order.finalize(csr: Acme::Client::CertificateRequest.new(private_key: key, names: names))
while order.status == "processing"
  sleep 0.2
  order.reload
end
chain = order.certificate
File.write(File.join(output, "chain.pem"), chain)
File.write(File.join(output, "key.pem"), key.to_pem)
client.revoke(certificate: chain, reason: 4)
client.account_update(contact: ["mailto:other@corp.example"])
left = client.account_deactivate
raise "the account is #{left.status}" unless left.status == "deactivated"
