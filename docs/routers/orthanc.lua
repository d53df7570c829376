-- Orthanc: tell vertebral-acuity of every MR series that has come to rest.
--
-- In orthanc.json:  "LuaScripts": ["/etc/orthanc/orthanc.lua"], "HttpTimeout": 5
-- In Orthanc's environment:
--   ACUITY_URL     the service, http://127.0.0.1:8000 when not set
--   ACUITY_KEY     an API key with the scope submit; none on loopback
--   ACUITY_SOURCE  name under which ACUITY_ARCHIVES lists this Orthanc, "orthanc" when not set
--
-- A call that fails is not repeated: the service finds what it missed in Orthanc's list of changes.

local url = os.getenv('ACUITY_URL') or 'http://127.0.0.1:8000'
local key = os.getenv('ACUITY_KEY')
local source = os.getenv('ACUITY_SOURCE') or 'orthanc'

function OnStableSeries(seriesId, tags, metadata)
  -- Results that come back are no MR series; they must not begin anything.
  if tags['Modality'] ~= 'MR' then return end
  local study = ParseJson(RestApiGet('/series/' .. seriesId .. '/study'))
  local wanted = {
    study_instance_uid = study['MainDicomTags']['StudyInstanceUID'],
    source = source,
    complete = false
  }
  local headers = { ['Content-Type'] = 'application/json' }
  if key then headers['Authorization'] = 'Bearer ' .. key end
  if not HttpPost(url .. '/v1/retrievals', DumpJson(wanted, true), headers) then
    print('vertebral-acuity could not be told of a series')
  end
end
